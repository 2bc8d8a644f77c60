//! `homeport dev`: three store replicas, two front-ends, two forwarders and the dashboard as a process
//! tree on one machine, and `homeport demo` on top of it.

mod certificates;
mod cluster;
mod demo;
mod network;
pub(crate) mod plan;
mod supervisor;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use homeport_runtime::Shutdown;

use self::cluster::Cluster;
use self::plan::{Mode, Plan};

/// Arguments of `homeport dev`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevArgs {
    /// Where everything is kept; a new directory when absent. The same directory starts the same
    /// cluster again
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How packets get in and out
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    mode: ModeArg,
    /// How mobile nodes of the home prefix are authenticated
    #[arg(long, value_enum, default_value_t = AuthenticationArg::None)]
    authentication: AuthenticationArg,
    /// UDP port on 127.0.0.1 for IPv4 care-of addresses; 4191, or a free one when that is taken
    #[arg(long, value_name = "PORT")]
    udp_port: Option<u16>,
    /// Run the demonstration once the cluster is up, then go on serving
    #[arg(long)]
    demo: bool,
    /// End when standard input closes: for a test that the cluster must not outlive
    #[arg(long, hide = true)]
    end_with_stdin: bool,
    /// Links without TLS; otherwise a new authority in the data directory signs a certificate for each process
    #[arg(long)]
    plaintext: bool,
    /// Start each process from the program of its name in this directory: for tests of upgrades
    #[arg(long, hide = true, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Arguments of `homeport demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Where everything is kept; a temporary directory when absent
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How packets get in and out
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    mode: ModeArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// IPv6 over TUN with root's rights, else UDP
    Auto,
    /// UDP port 4191 on loopback only: needs no rights
    Udp,
    /// IPv6 over TUN in network namespaces, and UDP on loopback: needs root
    Tun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthenticationArg {
    /// Every Binding Update is believed
    None,
    /// RFC 4285 MN-HA option; create subscribers with homeportctl
    MnHa,
}

pub(crate) async fn dev(args: DevArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    if args.end_with_stdin {
        crate::end_with_stdin(shutdown.clone());
    }
    let data_dir = match args.data_dir {
        Some(data_dir) => data_dir,
        None => tempfile::Builder::new().prefix("homeport-dev-").tempdir()?.keep(),
    };
    let mode = mode(args.mode)?;
    let plan = Plan::load_or_make(&data_dir, mode, args.udp_port)?;
    // Programs of other versions may not know of TLS.
    let protected = !args.plaintext && args.programs.is_none();
    let plan = Plan { programs: args.programs, protected, ..plan };
    let authenticated = args.authentication == AuthenticationArg::MnHa;
    let mut cluster = Cluster::start(plan, shutdown.clone()).await?;
    cluster.provision(authenticated).await?;
    cluster.print_endpoints();
    if args.demo {
        demo::run(&mut cluster, authenticated).await?;
    }
    println!("\nThe cluster runs until ctrl-C.");
    shutdown.begun().await;
    cluster.stop().await
}

pub(crate) async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let temporary = tempfile::Builder::new().prefix("homeport-demo-").tempdir()?;
    let data_dir = args.data_dir.unwrap_or_else(|| temporary.path().to_owned());
    let plan = Plan::load_or_make(&data_dir, mode(args.mode)?, None)?;
    let plan = Plan { protected: true, ..plan };
    let mut cluster = Cluster::start(plan, shutdown.clone()).await?;
    let result = tokio::select! {
        result = async {
            cluster.provision(true).await?;
            cluster.print_endpoints();
            demo::run(&mut cluster, true).await
        } => result,
        () = shutdown.begun() => Err(anyhow::anyhow!("interrupted")),
    };
    if result.is_err() {
        cluster.print_logs();
    }
    cluster.stop().await?;
    result
}

fn mode(asked: ModeArg) -> anyhow::Result<Mode> {
    match (asked, homeport_hostnet::privileges()) {
        (ModeArg::Udp, _) => Ok(Mode::Udp),
        (ModeArg::Auto | ModeArg::Tun, Ok(())) => Ok(Mode::Tun),
        (ModeArg::Auto, Err(unprivileged)) => {
            println!("No IPv6 over TUN here, so UDP port 4191 on loopback: {unprivileged}");
            Ok(Mode::Udp)
        }
        (ModeArg::Tun, Err(unprivileged)) => Err(anyhow::anyhow!("--mode tun: {unprivileged}")),
    }
}
