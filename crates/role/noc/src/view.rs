//! What a page shows, as data: HTML, CSV and JSON are three renderings of it, and what has changed since
//! is told by comparing two of them.

use serde::Serialize;

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Its name, as in the browser's tab.
    pub(crate) title: String,
    pub(crate) parts: Vec<Part>,
    /// Where a person is led instead: to the only thing that was looked for.
    pub(crate) found: Option<String>,
}

impl View {
    pub(crate) fn new(title: impl Into<String>, parts: Vec<Part>) -> Self {
        Self { title: title.into(), parts, found: None }
    }
}

/// What is replaced on the screen as a whole when it changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Unique in its page; also the table's name in exports.
    pub(crate) id: &'static str,
    /// Empty for none.
    pub(crate) heading: &'static str,
    pub(crate) what: What,
}

/// The kinds of parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Verdict(Verdict),
    Tiles(Vec<Tile>),
    Table(Table),
    Facts(Vec<Fact>),
    Plot(Plot),
    Graph(Graph),
    Search(Search),
    /// Paragraphs to read.
    Text(Vec<String>),
    /// A remark.
    Note(Level, String),
    /// The status wall.
    Wall(Wall),
    /// The form to log in, and where to go then.
    Login(String),
}

/// How good or bad something is: the severities of ITU-T X.733, and what needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Nothing is said about it.
    #[default]
    Plain,
    Good,
    Unknown,
    Warning,
    Minor,
    Major,
    Critical,
}

impl Level {
    /// A letter or sign that says it without colour.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\u{2713}",
            Self::Unknown => "?",
            Self::Warning => "W",
            Self::Minor => "m",
            Self::Major => "M",
            Self::Critical => "C",
        }
    }

    /// Its class in the style sheet, and its word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

/// A box to look for something in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    /// The page that answers.
    pub(crate) path: &'static str,
    /// What is looked for.
    pub(crate) words: &'static str,
    /// What can be written into it.
    pub(crate) example: &'static str,
    /// What was asked.
    pub(crate) asked: String,
}

/// The first thing to read: how it is, and then why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) words: &'static str,
    pub(crate) lines: Vec<String>,
}

/// A figure that stands for itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tile {
    pub(crate) name: &'static str,
    pub(crate) value: Cell,
    pub(crate) unit: &'static str,
    pub(crate) level: Level,
    /// Where more is said about it; empty for nowhere.
    pub(crate) href: &'static str,
    /// Its last values, oldest first.
    pub(crate) recent: Vec<Option<f64>>,
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: Cell,
}

/// Rows under one head.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: &'static [Column],
    pub(crate) rows: Vec<Row>,
    /// Said when there are no rows.
    pub(crate) empty: &'static str,
    /// Said below the table.
    pub(crate) note: String,
    /// The page after this one, as a link.
    pub(crate) next: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// In CSV and JSON.
    pub(crate) key: &'static str,
    /// On the screen.
    pub(crate) name: &'static str,
    /// Aligned to the right.
    pub(crate) is_number: bool,
}

/// A column of text.
pub(crate) const fn text(key: &'static str, name: &'static str) -> Column {
    Column { key, name, is_number: false }
}

/// A column of numbers.
pub(crate) const fn number(key: &'static str, name: &'static str) -> Column {
    Column { key, name, is_number: true }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    pub(crate) level: Level,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Text(String),
    /// Text and where it leads.
    Link(String, String),
    Number(u64),
    /// A measured value.
    Measure(f64),
    /// Seconds that something lasts.
    Secs(u64),
    /// When something was, milliseconds since the Unix epoch.
    At(u64),
    /// When something will end: shown as the time that is left.
    Ends(u64),
    /// Since when something lasts: shown as its age.
    Since(u64),
    /// A value that is good or bad, by more than its colour.
    Level(Level, String),
    /// Buttons that change something; shown to who is logged in.
    Actions(Vec<Action>),
}

/// A button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// Where it posts to.
    pub(crate) path: &'static str,
    /// What it names there.
    pub(crate) name: String,
    pub(crate) words: &'static str,
    /// What is asked before it is done.
    pub(crate) sure: &'static str,
}

impl Cell {
    pub(crate) fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    pub(crate) fn known<T>(value: Option<T>, make: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Missing, make)
    }

    /// Text where there is some.
    pub(crate) fn some(value: &str) -> Self {
        if value.is_empty() { Self::Missing } else { Self::Text(value.to_owned()) }
    }
}

/// Values over time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    pub(crate) unit: &'static str,
    pub(crate) series: Vec<Series>,
    /// When the samples were taken, milliseconds since the Unix epoch, oldest first.
    pub(crate) times_ms: Vec<u64>,
}

/// One line of a plot; a gap where nothing was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<f64>>,
}

/// Processes and who talks to whom, in layers from the top down.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    pub(crate) layers: Vec<Layer>,
    /// Pairs of node names.
    pub(crate) links: Vec<Link>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) nodes: Vec<Node>,
    /// Nodes that are not drawn.
    pub(crate) more: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) words: String,
    pub(crate) level: Level,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) level: Level,
    /// It carries the binding feed.
    pub(crate) is_feed: bool,
}

/// What is read from the other end of the room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wall {
    pub(crate) level: Level,
    pub(crate) words: &'static str,
    pub(crate) lines: Vec<String>,
    pub(crate) tiles: Vec<Tile>,
}
