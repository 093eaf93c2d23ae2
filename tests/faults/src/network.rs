//! Machines in networks of their own, joined by one bridge, and what is lost on the way.
//!
//! Clients, the origin and the relays are where the bridge is. An edge reaches the
//! control plane through its relay, which has an address of its own: so that way can be
//! broken in either direction while clients still reach the edge.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::inside::tool;

/// Where clients call from and the origin is.
pub const CLIENTS: &str = "10.77.0.1";
/// Where relays are.
pub const RELAYS: &str = "10.77.0.3";

/// A machine with its own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Its name, and that of its namespace.
    pub name: &'static str,
    /// Its address.
    pub address: &'static str,
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// So many packets of a hundred, in both directions.
    Some(u8),
    /// Everything that leaves.
    Outgoing,
    /// Everything that comes.
    Incoming,
    /// Everything.
    All,
}

/// Makes the bridge, and each machine with its cable.
///
/// # Errors
/// The kernel refuses something.
pub fn build(machines: &[Machine]) -> anyhow::Result<()> {
    ip("link set lo up")?;
    ip("link add bridge0 type bridge")?;
    for address in [CLIENTS, RELAYS] {
        ip(&format!("addr add {address}/24 dev bridge0"))?;
    }
    ip("link set bridge0 up")?;
    for Machine { name, address } in machines {
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add {name} type veth peer name eth0 netns {name}"
        ))?;
        ip(&format!("link set {name} master bridge0 up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        nft(
            name,
            "add table inet faults\n\
             add chain inet faults in { type filter hook input priority 0; }\n\
             add chain inet faults out { type filter hook output priority 0; }\n",
        )?;
    }
    Ok(())
}

impl Machine {
    /// The words before a program that is to run on this machine.
    #[must_use]
    pub fn runs(self) -> [&'static str; 4] {
        ["ip", "netns", "exec", self.name]
    }

    /// Loses what goes between this machine and `peer`.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn lose(self, loss: Loss, peer: &str) -> anyhow::Result<()> {
        let (incoming, outgoing, how) = match loss {
            Loss::Some(percent) => (
                true,
                true,
                format!("numgen random mod 100 < {percent} drop"),
            ),
            Loss::Outgoing => (false, true, "drop".to_owned()),
            Loss::Incoming => (true, false, "drop".to_owned()),
            Loss::All => (true, true, "drop".to_owned()),
        };
        let mut rules = CLEAR.to_owned();
        if incoming {
            rules += &format!("add rule inet faults in ip saddr {peer} {how}\n");
        }
        if outgoing {
            rules += &format!("add rule inet faults out ip daddr {peer} {how}\n");
        }
        nft(self.name, &rules)
    }

    /// Loses nothing more.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn mend(self) -> anyhow::Result<()> {
        nft(self.name, CLEAR)
    }
}

const CLEAR: &str = "flush chain inet faults in\nflush chain inet faults out\n";

fn ip(words: &str) -> anyhow::Result<()> {
    tool("ip", &words.split(' ').collect::<Vec<_>>())
}

fn nft(machine: &str, rules: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", machine, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start nft")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).context("nft")?;
    }
    let output = child.wait_with_output().context("nft")?;
    if !output.status.success() {
        bail!("nft: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
