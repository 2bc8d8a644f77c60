//! `/topology`: who talks to whom, drawn from what the polls saw.

use super::{Seen, nodes, part, verdict};
use crate::{
    config::Role,
    limits::BOXES_MAX,
    status::{Replica, Seen as Answer, Status},
    view::{Graph, Layer, Level, Link, Node, View, What},
};

pub(super) fn view(seen: &Seen) -> View {
    let graph = part("graph", "", What::Graph(graph(seen)));
    let parts = vec![verdict(seen), graph, nodes::replicas(seen), nodes::feed(seen)];
    View::new("Topology", parts)
}

fn graph(seen: &Seen) -> Graph {
    let status = &seen.status;
    let stores = status.replicas.iter().map(store_node).collect();
    let front_ends = of_role(seen, Role::Signalling);
    let forwarders = forwarders(seen);
    let mut links = raft_links(status);
    links.extend(feed_links(status));
    for front_end in &front_ends {
        let leader = leader(status).map(|leader| leader.endpoint.clone());
        links.extend(leader.map(|to| Link {
            from: front_end.name.clone(),
            to,
            level: front_end.level,
            is_feed: false,
        }));
        for forwarder in &forwarders {
            let level = front_end.level.max(forwarder.level);
            links.push(Link {
                from: forwarder.name.clone(),
                to: front_end.name.clone(),
                level,
                is_feed: false,
            });
        }
    }
    let mut layers = vec![
        layer("Stores", stores),
        layer("Front-ends", front_ends),
        layer("Forwarders", forwarders),
    ];
    layers.retain(|layer| !layer.nodes.is_empty());
    Graph { layers, links }
}

fn layer(name: &'static str, mut nodes: Vec<Node>) -> Layer {
    // Who is not well is drawn first.
    nodes.sort_by_key(|node| std::cmp::Reverse(node.level.max(Level::Good)));
    let more = nodes.len().saturating_sub(BOXES_MAX);
    nodes.truncate(BOXES_MAX);
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Layer { name, nodes, more }
}

fn store_node(replica: &Replica) -> Node {
    let id = replica.node_id.map(|id| format!("node {id}, ")).unwrap_or_default();
    let (words, level) = match &replica.seen {
        Answer::Reached(reached) if reached.stuck => (format!("{id}stuck"), Level::Major),
        Answer::Reached(reached) => (format!("{id}{}", reached.role), Level::Good),
        Answer::Unreached { .. } => (format!("{id}unreached"), Level::Major),
        Answer::NotAsked => (format!("{id}not asked"), Level::Unknown),
    };
    Node { name: replica.endpoint.clone(), words, level }
}

fn of_role(seen: &Seen, role: Role) -> Vec<Node> {
    let of_role = seen.processes.all.iter().filter(|process| process.role == role);
    of_role
        .map(|process| {
            let (level, words) = nodes::state(process);
            Node { name: process.name.clone(), words, level }
        })
        .collect()
}

/// Those that are configured, and those that are at a feed or have left it.
fn forwarders(seen: &Seen) -> Vec<Node> {
    let mut all = of_role(seen, Role::Forwarder);
    for subscriber in &seen.status.feed_subscribers {
        if !all.iter().any(|node| node.name == subscriber.name) {
            let level = if subscriber.stuck { Level::Major } else { Level::Good };
            let words = format!("{} behind", subscriber.lag);
            all.push(Node { name: subscriber.name.clone(), words, level });
        }
    }
    for departed in &seen.status.departed {
        let words = "at no feed".to_owned();
        match all.iter_mut().find(|node| node.name == departed.name) {
            Some(node) => (node.words, node.level) = (words, Level::Major),
            None => all.push(Node { name: departed.name.clone(), words, level: Level::Major }),
        }
    }
    all
}

fn leader(status: &Status) -> Option<&Replica> {
    let id = status.leader_id?;
    status.replicas.iter().find(|replica| replica.node_id == Some(id))
}

fn raft_links(status: &Status) -> Vec<Link> {
    let Some(leader) = leader(status) else { return Vec::new() };
    let others = status.replicas.iter().filter(|replica| replica.endpoint != leader.endpoint);
    let link = |other: &Replica| {
        let level = store_node(other).level;
        Link { from: leader.endpoint.clone(), to: other.endpoint.clone(), level, is_feed: false }
    };
    others.map(link).collect()
}

fn feed_links(status: &Status) -> Vec<Link> {
    let link = |subscriber: &crate::status::FeedSubscriber| {
        let fed_by = status.replicas.iter().find(|it| it.node_id == Some(subscriber.node_id))?;
        let level = if subscriber.stuck { Level::Major } else { Level::Plain };
        Some(Link {
            from: fed_by.endpoint.clone(),
            to: subscriber.name.clone(),
            level,
            is_feed: true,
        })
    };
    status.feed_subscribers.iter().filter_map(link).collect()
}
