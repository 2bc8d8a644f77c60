//! The dashboard over a hundred thousand subscribers with two bindings each: how soon it answers, and what
//! it keeps.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{TryStreamExt as _, stream};
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{CreateSubscriberRequest, Subscriber};
use homeport_tests::dev::{Build, program_of};
use homeport_tests::{eventually, free_address};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::latencies::Latencies;
use super::load::{End, Writes, register};
use super::processes::Process;
use super::replicas::{Replicas, home_address};
use super::{Figures, progress};

/// Registrations in flight.
const IN_FLIGHT: u32 = 250;
/// Subscribers that are created at once.
const CREATED_AT_ONCE: usize = 100;
/// Subscribers between two steps of the bar.
const STEP: u32 = 10_000;
/// Requests for each kind of page, one after the other.
const REQUESTS: u32 = 200;
/// Screens that are open meanwhile.
const SCREENS: u32 = 40;
/// What a page may take.
const PAGE_MS_MAX: f64 = 200.0;

/// Fills a store and asks its dashboard.
pub(crate) async fn measure(figures: &mut Figures, subscribers: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let replicas = Replicas::start(directory.path()).await?;
    let policy_revisions = replicas.policy_revisions().await?;
    let writes =
        Writes { first: 0, count: subscribers, rounds_before: 0, bulk: true, policy_revisions };
    register(&replicas, writes, IN_FLIGHT, End::Round).await?;
    provision(replicas.channel(replicas.leader().await?).await?, subscribers).await?;
    let (process, address) = start(directory.path(), replicas.addresses())?;
    let count = subscribers.to_string();
    eventually("the dashboard", async || {
        let page = get(address, "/overview.json?table=service").await?;
        ensure!(page.contains(&format!("\"value\":{count}")), "{page}");
        Ok(())
    })
    .await?;
    let before = process.resident_octets()?;
    let mut screens = Vec::new();
    for n in 0..SCREENS {
        screens.push(screen(address, if n % 2 == 0 { "/bindings" } else { "/" }).await?);
    }
    let mut pages = time(address, &pages(address).await?).await?;
    let mut searches = time(address, &searches(subscribers)).await?;
    let search_ms = searches.per_mille_ms(990);
    let page_ms = pages.per_mille_ms(990);
    figures.ms("search_ms_p50_100k", searches.per_mille_ms(500));
    figures.ms("search_ms_p99_100k", search_ms);
    figures.ms("page_ms_p50_100k", pages.per_mille_ms(500));
    figures.ms("page_ms_p99_100k", page_ms);
    figures.add("rss_mb_100k", mib(process.resident_octets()?)?, "MiB");
    figures.add("rss_mb_before_requests", mib(before)?, "MiB");
    drop(screens);
    ensure!(
        search_ms < PAGE_MS_MAX && page_ms < PAGE_MS_MAX,
        "a page takes more than {PAGE_MS_MAX} ms"
    );
    Ok(())
}

fn mib(octets: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(octets / 1024)?) / 1024.0)
}

async fn provision(leader: Channel, subscribers: u32) -> Result<()> {
    let bar = progress(subscribers / STEP, "ten thousand subscribers created");
    let client = SubscribersClient::new(leader);
    let created = stream::iter((0..subscribers).map(anyhow::Ok)).map_ok(|n| {
        let (mut client, bar) = (client.clone(), bar.clone());
        async move {
            let subscriber = Subscriber {
                home_address: home_address(n).to_string(),
                nai: nai(n),
                spi: 0x100 + n,
                key: vec![7; 16].into(),
                ..Subscriber::default()
            };
            client
                .create_subscriber(CreateSubscriberRequest {
                    subscriber: Some(subscriber),
                    ..Default::default()
                })
                .await?;
            if n % STEP == STEP - 1 {
                bar.inc(1);
            }
            Ok(())
        }
    });
    created.try_buffer_unordered(CREATED_AT_ONCE).try_collect::<Vec<()>>().await?;
    bar.finish();
    Ok(())
}

fn nai(n: u32) -> String {
    format!("mn{n}@example.com")
}

fn start(directory: &Path, stores: &[SocketAddr]) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let stores: Vec<String> = stores.iter().map(|store| format!("\"{store}\"")).collect();
    let text = format!(
        "listen = \"{address}\"\nstores = [{}]\n[ops]\nlisten = \"{}\"\n",
        stores.join(", "),
        free_address()?
    );
    let file = directory.join("noc.toml");
    std::fs::write(&file, text)?;
    let mut command = Command::new(program_of(Build::Release, "homeport")?);
    command.arg("noc").arg("--config").arg(&file);
    Ok((Process::start(directory, "noc", command)?, address))
}

/// Pages as people open them, a late page of a list among them.
async fn pages(address: SocketAddr) -> Result<Vec<String>> {
    let mut pages: Vec<String> =
        ["/", "/bindings", "/subscribers", "/nodes", "/wall", "/check", "/bindings.csv"]
            .map(str::to_owned)
            .to_vec();
    for list in ["/bindings", "/subscribers"] {
        let mut path = list.to_owned();
        for _ in 0..50 {
            let page = get(address, &path).await?;
            let (_, rest) = page.split_once("rel=\"next\" href=\"").context("no next page")?;
            path = rest.split_once('"').context("it ends")?.0.replace("&amp;", "&");
        }
        pages.push(path);
    }
    pages.push(format!("/subscribers/{}", home_address(7)));
    Ok(pages)
}

/// What is looked for, by each thing that names a subscriber: one, a few, and pages full of them.
fn searches(subscribers: u32) -> Vec<String> {
    let some = [0, subscribers / 3, subscribers - 1];
    let mut all: Vec<String> = some.map(|n| nai(n).replace('@', "%40")).to_vec();
    all.extend(some.map(|n| home_address(n).to_string()));
    all.extend(["mn77*", "mn*", "nobody%40example.com"].map(str::to_owned));
    all.extend(
        ["2001:db8:0:1::/64", "2001:db8:0:1:100:0:0:0/112"].map(|it| it.replace('/', "%2F")),
    );
    all.push(homeport_tests::updates::CARE_OF.to_string());
    all.into_iter().map(|query| format!("/subscribers?q={query}")).collect()
}

async fn time(address: SocketAddr, paths: &[String]) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for _ in 0..REQUESTS {
        for path in paths {
            let started = Instant::now();
            let mut page = get(address, path).await?;
            // One who is found alone is shown at once.
            if let Some(shown) = redirected_to(&page) {
                page = get(address, shown).await?;
            }
            latencies.record(started.elapsed());
            ensure!(
                page.starts_with("HTTP/1.0 200") || page.starts_with("HTTP/1.1 200"),
                "{path}: {page}"
            );
            ensure!(!page.contains("part-problem"), "{path}: {page}");
        }
    }
    Ok(latencies)
}

fn redirected_to(answer: &str) -> Option<&str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| line.strip_prefix("location: "))
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(20), ask).await.context("no answer in time")?
}

/// A screen that is open: its stream is read and forgotten.
async fn screen(address: SocketAddr, of: &str) -> Result<homeport_runtime::Task> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /live?of={of} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(homeport_runtime::Task::spawn("screen", async move {
        let mut octets = [0; 4096];
        while stream.read(&mut octets).await.is_ok_and(|read| read > 0) {}
    }))
}
