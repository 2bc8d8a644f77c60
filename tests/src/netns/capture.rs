//! tcpdump on a link, and what tshark makes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use homeport_hostnet::Namespace;

use super::signal;
use crate::eventually;

/// What tshark prints of each frame.
const FIELDS: [&str; 51] = [
    "frame.number",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "icmp.type",
    "icmp.code",
    "icmp.mtu",
    "udp.srcport",
    "udp.dstport",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.routing.type",
    "ipv6.routing.mipv6.home_address",
    "ipv6.opt.mipv6.home_address",
    "icmpv6.type",
    "icmpv6.mtu",
    "icmpv6.echo.identifier",
    "icmpv6.checksum.status",
    "icmpv6.mip6.home_agent_address",
    "icmpv6.mip6.identifier",
    "icmpv6.opt.prefix.valid_lifetime",
    "icmpv6.opt.prefix",
    "esp.spi",
    "esp.sequence",
    "esp.icv_good",
    "esp.icv_bad",
    "mip6.mhtype",
    "mip6.mobility_opt",
    "mip6.bu.seqnr",
    "mip6.bu.lifetime",
    "mip6.bu.a_flag",
    "mip6.bu.h_flag",
    "mip6.bu.f_flag",
    "mip6.nemo.bu.r_flag",
    "mip6.nemo.ba.r_flag",
    "mip6.nemo.mnp.mnp",
    "mip6.ba.status",
    "mip6.ba.seqnr",
    "mip6.be.status",
    "mip6.bi.bid",
    "mip6.bi.status",
    "mip6.natd.f_flag",
    "mip6.ipv4ha.ha",
    "mip6.ipv4aa.sts",
    "mip6.bri_br.type",
    "mip6.bri_status",
    "mip6.has.num_addrs",
    "mip6.auth.mobility_spi",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.group",
];
/// `_ws.expert.severity` of a warning; errors are above, notes below.
const SEVERITY_WARNING: u32 = 0x0060_0000;
/// `_ws.expert.group` of what is about several frames, such as a request without a response.
const GROUP_SEQUENCE: u32 = 0x0200_0000;
/// `icmpv6.checksum.status` of a wrong checksum.
const CHECKSUM_BAD: &str = "0";

/// A running tcpdump.
pub(crate) struct Capture {
    child: Child,
    file: PathBuf,
}

/// A frame as tshark decoded it: of each field all values, from the outermost header inwards.
#[derive(Clone, Debug)]
pub(super) struct Frame(BTreeMap<&'static str, Vec<String>>);

impl Capture {
    /// Captures an interface into `directory` and waits until it does.
    pub(super) async fn start(namespace: &str, link: &str, directory: &Path) -> Result<Self> {
        Self::begin(namespace, link, directory, "all", &[]).await
    }

    /// The same with more of tcpdump's arguments; `label` tells captures of one link apart.
    pub(crate) async fn begin(
        namespace: &str,
        link: &str,
        directory: &Path,
        label: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let file = directory.join(format!("{namespace}-{link}-{label}.pcap"));
        let messages = directory.join(format!("{namespace}-{link}-{label}.tcpdump"));
        let mut command = Command::new("tcpdump");
        command
            .args(["--interface", link, "--immediate-mode", "--packet-buffered", "-n"])
            // It would give up root's rights before it writes into our directory.
            .args(["-Z", "root", "-w"])
            .arg(&file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&messages)?);
        let child = Namespace::from(namespace).run(|| command.spawn())?.context("tcpdump")?;
        let capture = Self { child, file };
        eventually("tcpdump", async || {
            let said = std::fs::read_to_string(&messages)?;
            ensure!(said.contains("listening on"), "tcpdump on {link}: {said}");
            Ok(())
        })
        .await?;
        Ok(capture)
    }

    /// Ends it; the file that it has written.
    pub(crate) fn end(mut self) -> Result<Vec<u8>> {
        signal("-INT", self.child.id())?;
        self.child.wait()?;
        std::fs::read(&self.file).with_context(|| self.file.display().to_string())
    }

    /// Ends it and decodes what it has; datagrams of this port as IPv6 or IPv4 packets
    /// (RFC 5555 §4.1).
    pub(super) fn decode(mut self, udp_port: u16) -> Result<Vec<Frame>> {
        signal("-INT", self.child.id())?;
        self.child.wait()?;
        let mut tshark = Command::new("tshark");
        let in_udp = format!("udp.port=={udp_port},ip");
        tshark.arg("-r").arg(&self.file).args(["-n", "-d", &in_udp, "-T", "fields"]);
        tshark.args(["-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]);
        tshark.args(["-o", "esp.enable_encryption_decode:TRUE"]);
        tshark.args(["-o", "esp.enable_authentication_check:TRUE"]);
        for association in super::ipsec::KNOWN_TO_TSHARK {
            tshark.args(["-o", association]);
        }
        tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
        let output = tshark.output().context("tshark")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tshark: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(Frame::read).collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Frame {
    fn read(line: &str) -> Self {
        let values =
            |text: &str| text.split(',').filter(|v| !v.is_empty()).map(Into::into).collect();
        Self(FIELDS.into_iter().zip(line.split('\t').map(values)).collect())
    }

    /// The values of one of [`FIELDS`].
    pub(super) fn all(&self, field: &str) -> &[String] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }

    /// The field has exactly these values.
    pub(super) fn has(&self, field: &str, values: &[&str]) -> bool {
        self.all(field) == values
    }

    /// A plain packet, or one in one tunnel, from and to these addresses.
    pub(super) fn goes(&self, sources: &[&str], destinations: &[&str]) -> bool {
        self.has("ipv6.src", sources) && self.has("ipv6.dst", destinations)
    }

    /// tshark takes the options of a Home Agent Switch to begin six octets too early. Where there is no
    /// address these octets are the message's own, of which it can make nothing.
    fn is_beyond_tshark(&self) -> bool {
        self.has("mip6.mhtype", &["12"]) && self.has("mip6.has.num_addrs", &["0"])
    }

    /// Nothing that a receiver could complain about.
    pub(super) fn is_sound(&self) -> bool {
        if self.is_beyond_tshark() {
            return true;
        }
        let number = |text: &String| text.parse::<u32>();
        let mut complaints =
            self.all("_ws.expert.severity").iter().zip(self.all("_ws.expert.group"));
        let is_harmless = |(severity, group): (&String, &String)| {
            number(severity).is_ok_and(|severity| severity < SEVERITY_WARNING)
                || number(group).is_ok_and(|group| group == GROUP_SEQUENCE)
        };
        let is_bad = |status: &String| status == CHECKSUM_BAD;
        self.all("_ws.malformed").is_empty()
            && complaints.all(is_harmless)
            && !self.all("icmpv6.checksum.status").iter().any(is_bad)
            && !self.all("esp.icv_bad").iter().any(|bad| bad == "1")
    }

    /// A Binding Update that names these BIDs.
    pub(super) fn is_update(&self, bids: &[&str]) -> bool {
        self.has("mip6.mhtype", &["5"]) && self.has("mip6.bi.bid", bids)
    }

    /// A Binding Acknowledgement with this status.
    pub(super) fn is_acknowledgement(&self, status: &str) -> bool {
        self.has("mip6.mhtype", &["6"]) && self.has("mip6.ba.status", &[status])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv6Addr;

    use homeport_hostnet::{TemporaryNamespace, Tun};
    use homeport_wire::{Bid, BidOption, mobility_packet};

    use super::super::possible;
    use super::super::raw::echo_request;
    use super::*;
    use crate::updates::{CARE_OF, HOME_AGENT, Update, home_address};

    const HOME: Ipv6Addr = home_address(0x100);

    fn update() -> Vec<u8> {
        let mut update = Update::new(HOME, 7);
        update.bids.push(BidOption::v6(Bid(3), CARE_OF));
        update.packet()
    }

    /// The judge finds what it is there for, under the names by which it is asked.
    #[tokio::test(flavor = "multi_thread")]
    async fn sound_frames_are_told_from_others() {
        if let Err(reason) = possible() {
            writeln!(std::io::stderr(), "\n*** SKIPPED a capture: {reason}\n").unwrap();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let namespace = TemporaryNamespace::create("homeport-capture").unwrap();
        let tun = Tun::open(&namespace.namespace(), "raw0", 1500).unwrap();
        let capture = Capture::start(namespace.name(), "raw0", directory.path()).await.unwrap();
        let wrong_checksum = {
            let mut packet = echo_request(CARE_OF, HOME_AGENT, 1);
            *packet.last_mut().unwrap() ^= 1;
            packet
        };
        // A Binding Update whose options are longer than it.
        let too_long = mobility_packet(
            CARE_OF,
            HOME_AGENT,
            Some(HOME),
            None,
            &[59, 1, 5, 0, 0, 0, 0, 7, 0xc0, 0, 0, 225, 35, 40, 0, 3],
        );
        for packet in [&update(), &echo_request(CARE_OF, HOME_AGENT, 1), &wrong_checksum, &too_long]
        {
            tun.send(packet).await.unwrap();
        }
        // The capture sees them in this order; what it has not seen yet is not decoded.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let frames = capture.decode(4191).unwrap();
        let sound: Vec<bool> = frames.iter().map(Frame::is_sound).collect();
        assert_eq!(sound, [true, true, false, false], "{frames:#?}");
        assert!(frames[0].is_update(&["3"]) && frames[0].has("mip6.bu.seqnr", &["7"]));
        assert!(frames[0].has("ipv6.opt.mipv6.home_address", &["2001:db8:0:1::100"]));
        assert!(frames[1].has("icmpv6.type", &["128"]));
    }
}
