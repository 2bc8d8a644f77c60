//! A container of a rendered pod as a process: its command line, environment, mounts, user, capabilities and probes.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::place::{Mount, Place, must, root};
use crate::chart::{at, items, text};

/// Kubernetes' default where a pod says nothing.
const GRACE: Duration = Duration::from_secs(30);

/// What all containers need.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) folder: PathBuf,
    pub(super) program: PathBuf,
}

impl Machine {
    pub(super) fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// Where the entries of a config map are files.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join("maps").join(name)
    }
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pod: String,
    child: Child,
    log: PathBuf,
    grace: Duration,
}

/// Starts a container of a pod; `pod` is the template, `name` what the pod is called.
pub(super) fn start(
    machine: &Machine,
    place: &Place,
    (pod, name): (&Value, &str),
    container: &Value,
) -> anyhow::Result<Running> {
    let label = format!("{name}-{}", text(&container["name"]));
    let folder = machine.folder.join("roots").join(&label);
    let script =
        root(&folder, &machine.program, &machine.hosts(), &mounts(machine, pod, name, container)?)?;
    let variables = variables(container, name, &place.name);
    let words = items(&container["command"]).iter().chain(items(&container["args"])).map(text);
    let words: Vec<String> = words.map(|word| expanded(word, &variables)).collect();
    let command =
        if container["command"].is_null() { vec!["/usr/bin/homeport".to_owned()] } else { vec![] };
    let command: Vec<String> = command.into_iter().chain(words).collect();

    // The capability by which the process enters its root stays; its user has none all the same, unless that is root.
    let user =
        at(pod, "spec/securityContext/runAsUser").as_u64().context("the pod names no user")?;
    let added = items(at(container, "securityContext/capabilities/add")).iter().map(text);
    let mut bounding = "-all,+sys_chroot,+setuid,+setgid".to_owned();
    for capability in added {
        bounding += &format!(",+{}", capability.to_lowercase());
    }
    let script = format!(
        "hostname {name}\n{script}exec setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all \
         --bounding-set={bounding} chroot --userspec={user}:{user} {} \"$@\"\n",
        folder.display()
    );
    let log = machine.folder.join("logs").join(format!("{label}.log"));
    let output = fs::File::options().create(true).append(true).open(&log)?;
    let mut started = Command::new("ip");
    started.args([
        "netns",
        "exec",
        &place.name,
        "unshare",
        "--mount",
        "--uts",
        "--propagation",
        "private",
    ]);
    started.args(["/bin/sh", "-eu", "-c", &script, "sh"]).args(&command);
    started.env_clear().envs(&variables).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    started.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let child = started.spawn().context("cannot start ip")?;
    let grace = at(pod, "spec/terminationGracePeriodSeconds").as_u64();
    let grace = grace.map_or(GRACE, Duration::from_secs);
    Ok(Running { pod: name.to_owned(), child, log, grace })
}

/// What stands in the fields of a pod that the chart asks for.
fn variables(container: &Value, pod: &str, node: &str) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for variable in items(&container["env"]) {
        let value = match text(at(variable, "valueFrom/fieldRef/fieldPath")) {
            "metadata.name" => pod.to_owned(),
            "spec.nodeName" => node.to_owned(),
            _ => expanded(text(&variable["value"]), &known),
        };
        known.insert(text(&variable["name"]).to_owned(), value);
    }
    known
}

/// `$(NAME)` as Kubernetes replaces it.
fn expanded(word: &str, variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}

fn mounts(
    machine: &Machine,
    pod: &Value,
    name: &str,
    container: &Value,
) -> anyhow::Result<Vec<Mount>> {
    let volumes = items(at(pod, "spec/volumes"));
    let mut found = Vec::new();
    for mount in items(&container["volumeMounts"]) {
        let volume = volumes.iter().find(|it| it["name"] == mount["name"]);
        let map = volume.map(|it| text(at(it, "configMap/name"))).unwrap_or_default();
        let host = volume.map(|it| text(at(it, "hostPath/path"))).unwrap_or_default();
        let from = if !map.is_empty() {
            machine.map(map)
        } else if !host.is_empty() {
            PathBuf::from(host)
        } else if volume.is_none() {
            // A claim of the stateful set, which outlives the pod.
            let claim =
                machine.folder.join("claims").join(format!("{}-{name}", text(&mount["name"])));
            fs::create_dir_all(&claim)?;
            must("chown", &["65532:65532", &claim.display().to_string()])?;
            claim
        } else {
            bail!("{name}: the volume {} is of no kind that is known here", mount["name"]);
        };
        let read_only = mount["readOnly"] == true;
        found.push(Mount { from, to: text(&mount["mountPath"]).to_owned(), read_only });
    }
    Ok(found)
}

impl Running {
    /// Waits until the pod's probes say that it is ready, as often as they ask.
    pub(super) fn wait_until_ready(
        &mut self,
        place: &Place,
        container: &Value,
    ) -> anyhow::Result<()> {
        for probe in ["startupProbe", "readinessProbe"] {
            let probe = &container[probe];
            let period = Duration::from_secs(probe["periodSeconds"].as_u64().unwrap_or(10));
            let begun = Instant::now();
            while !asked(place, container, probe)? {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} has ended ({status}):\n{}", self.pod, self.last_words());
                }
                ensure!(
                    begun.elapsed() < Duration::from_secs(120),
                    "{} is not ready:\n{}",
                    self.pod,
                    self.last_words()
                );
                std::thread::sleep(period);
            }
        }
        ensure!(asked(place, container, &container["livenessProbe"])?, "{} is not alive", self.pod);
        Ok(())
    }

    /// As Kubernetes ends it; it must go by itself and in time.
    pub(super) fn end(mut self) -> anyhow::Result<Duration> {
        ensure!(self.child.try_wait()?.is_none(), "{} had ended:\n{}", self.pod, self.last_words());
        let begun = Instant::now();
        must("kill", &["-TERM", &self.child.id().to_string()])?;
        while begun.elapsed() < self.grace {
            if let Some(status) = self.child.try_wait()? {
                ensure!(
                    status.success(),
                    "{} ended with {status}:\n{}",
                    self.pod,
                    self.last_words()
                );
                return Ok(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} has not ended in {} s:\n{}", self.pod, self.grace.as_secs(), self.last_words())
    }

    /// Of one that ends by itself.
    pub(super) fn wait(mut self) -> anyhow::Result<(ExitStatus, String)> {
        Ok((self.child.wait()?, self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks what a probe asks.
fn asked(place: &Place, container: &Value, probe: &Value) -> anyhow::Result<bool> {
    let get = &probe["httpGet"];
    let port = match &get["port"] {
        Value::String(name) => {
            let port = items(&container["ports"]).iter().find(|it| it["name"] == name.as_str());
            port.map_or(&Value::Null, |it| &it["containerPort"])
        }
        number => number,
    };
    let port = port.as_u64().context("a probe has no port")?;
    let port = u16::try_from(port)?;
    let path = text(&get["path"]);
    // A kubelet asks from the host: for a pod of the host's network that is its loopback.
    Ok(match text(&get["host"]) {
        "" => http(SocketAddr::from((place.address, port)), path),
        host => {
            let url = format!("http://{host}:{port}{path}");
            let arguments = ["netns", "exec", &place.name, "curl", "-sf", "-m", "2", &url];
            Command::new("ip").args(arguments).stdout(Stdio::null()).status()?.success()
        }
    })
}

fn http(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let timeout = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// Writes the entries of a config map as files.
pub(super) fn write_map(machine: &Machine, map: &Value) -> anyhow::Result<()> {
    let folder = machine.map(text(at(map, "metadata/name")));
    fs::create_dir_all(&folder)?;
    for (name, content) in map["data"].as_object().into_iter().flatten() {
        fs::write(folder.join(name), text(content))?;
    }
    Ok(())
}

/// Whether a program is there.
pub(super) fn there(path: &Path) -> anyhow::Result<PathBuf> {
    let what = "build it (cargo xtask image, or cargo build), or name --program";
    fs::canonicalize(path).with_context(|| format!("{}: {what}", path.display()))
}
