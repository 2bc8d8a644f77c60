//! Writes HTML so that text cannot become markup: markup is `&'static str`, everything else is escaped.

use std::fmt::{self, Display, Write as _};

/// A document that is being written.
#[derive(Debug, Default)]
pub(crate) struct Html {
    out: String,
}

impl Html {
    /// Markup out of this program's source. A value from outside has no way into it.
    pub(crate) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// A value, escaped for element content and for quoted attributes alike.
    pub(crate) fn text(&mut self, value: impl Display) -> &mut Self {
        // Writing to a `String` does not fail; a `Display` that does has said what it could.
        if write!(Escape(&mut self.out), "{value}").is_err() {
            self.out.push('\u{fffd}');
        }
        self
    }

    /// `<td>value</td>`
    pub(crate) fn cell(&mut self, value: impl Display) -> &mut Self {
        self.markup("<td>").text(value).markup("</td>")
    }

    /// A right-aligned cell for numbers.
    pub(crate) fn number(&mut self, value: impl Display) -> &mut Self {
        self.markup("<td class=\"number\">").text(value).markup("</td>")
    }

    /// The document.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}

struct Escape<'o>(&'o mut String);

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Control characters have no place in HTML, not even as references.
                control if control.is_control() => self.0.push('\u{fffd}'),
                plain => self.0.push(plain),
            }
        }
        Ok(())
    }
}

/// A value inside the query of a link: everything but RFC 3986's unreserved characters in percent form.
pub(crate) struct Query<'v>(pub(crate) &'v str);

impl Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(octet))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_become_markup() {
        let mut html = Html::default();
        html.markup("<p title=\"").text("\"><script>alert('1 & 2')</script>\u{0}").markup("\">");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt;\u{fffd}\">"
        );
    }

    #[test]
    fn a_value_cannot_leave_its_parameter() {
        assert_eq!(
            Query("a-Z_0.~ &x=/?#%\u{e9}").to_string(),
            "a-Z_0.~%20%26x%3D%2F%3F%23%25%C3%A9"
        );
    }
}
