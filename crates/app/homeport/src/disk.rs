//! What is done to the disk of a store replica that does not run: `homeport store verify`, `inspect`, `migrate`
//! and `recover`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use homeport_store::RecoveredStore;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// Check everything in a data directory: exit status 1 when something is damaged. Changes nothing
    Verify(DiskArgs),
    /// Show what a data directory holds. Changes nothing
    Inspect(DiskArgs),
    /// Write a data directory in this version's format. Older versions refuse it from then on
    Migrate {
        /// Data directory of a replica that does not run
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Go on with one survivor after the majority of the replicas is lost FOR EVER: what they had acknowledged and
    /// the survivor has not is lost
    Recover(RecoverArgs),
}

/// Where the disk is.
#[derive(Args)]
pub(crate) struct DiskArgs {
    /// Data directory of a replica that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the copy of the log goes that is read
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch_dir: PathBuf,
}

/// The survivor, and that it is meant.
#[derive(Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    disk: DiskArgs,
    /// Where other replicas will reach it [default: as in its membership]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Without this nothing is done
    #[arg(long, required = true)]
    i_accept_that_acknowledged_commands_may_be_lost: bool,
}

/// Does it.
pub(crate) fn run(action: &Action) -> anyhow::Result<()> {
    homeport_store::end_with_reason();
    match action {
        Action::Verify(disk) => look(disk, true),
        Action::Inspect(disk) => look(disk, false),
        Action::Migrate { data_dir } => {
            let (before, now) = homeport_store::migrate(data_dir)?;
            let dir = data_dir.display();
            if before == now {
                println!("{dir} has format {now} already, which is this version's");
            } else {
                println!("{dir} had format {before} and has format {now} now");
                println!("versions that do not know format {now} refuse it from now on");
            }
            Ok(())
        }
        Action::Recover(args) => recover(args),
    }
}

fn scratch(disk: &DiskArgs) -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir_in(&disk.scratch_dir)
        .with_context(|| format!("cannot create a directory in {}", disk.scratch_dir.display()))
}

fn look(disk: &DiskArgs, verify: bool) -> anyhow::Result<()> {
    let scratch = scratch(disk)?;
    let found = homeport_store::inspect(&disk.data_dir, scratch.path())?;
    println!("{found}");
    for damage in found.damage() {
        println!("damaged: {damage}");
    }
    match (verify, found.damage().len()) {
        (true, 0) => println!("all of it is whole"),
        (true, damaged) => {
            let dir = disk.data_dir.display();
            anyhow::bail!("{dir} is damaged in {damaged} places: a replica does not start on it")
        }
        (false, _) => {}
    }
    Ok(())
}

fn recover(args: &RecoverArgs) -> anyhow::Result<()> {
    let scratch = scratch(&args.disk)?;
    let dir = &args.disk.data_dir;
    let RecoveredStore { recovered, home_addresses, bindings } =
        homeport_store::recover(dir, scratch.path(), args.address.clone())?;
    let founded = recovered.founded;
    eprintln!("RECOVERED FROM THE LOSS OF A MAJORITY. Acknowledged commands may be lost.");
    println!(
        "{} holds replica {} of the new cluster {:?} with id {:016x}; it is the only member",
        dir.display(),
        founded.node_id,
        founded.cluster_name,
        founded.cluster_id
    );
    println!("it was {}", founded.origin);
    match recovered.survivor {
        Some(survivor) => {
            let (term, index) = survivor.last;
            let committed = survivor.committed;
            let committed =
                committed.map_or("none".to_owned(), |index| format!("those up to {index}"));
            println!();
            println!(
                "kept: {home_addresses} home addresses and {bindings} bindings, with all log entries up to"
            );
            println!("      {index} of term {term}; it knew {committed} to be committed");
            println!("lost: whatever other replicas had acknowledged after that, if anything");
            for (node_id, address) in survivor.others {
                println!("gone: replica {node_id} at {address} is no member any more");
            }
        }
        None => println!("an interrupted recovery is finished now"),
    }
    if let Some(aside) = founded.aside {
        println!("the old data is in {}: remove it when all is well", aside.display());
    }
    println!();
    println!("next:");
    println!(
        "1. destroy the disks of the replicas that are gone: two of them would go on as the old cluster"
    );
    println!("2. start replica {} on this directory", founded.node_id);
    println!(
        "3. start others with empty data directories, and add each: homeportctl raft add NODE HOST:PORT"
    );
    Ok(())
}
