//! A switch with nodes on cables, from network namespaces: the bridge is the switch, and a cable can be pulled.

use std::process::{Command, Stdio};

/// Removed when dropped.
pub(crate) struct Network {
    tag: String,
    /// The third number of the addresses, so that two runs on one machine do not meet.
    subnet: u32,
    nodes: usize,
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| format!("it needs ip (Debian: iproute2): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {} said: {} (it needs root)", arguments.join(" "), reason.trim()))
}

impl Network {
    /// # Errors
    /// Why there can be none here.
    pub(crate) fn new(nodes: usize) -> Result<Self, String> {
        let process = std::process::id();
        let subnet = process % 250;
        let network = Self { tag: format!("x{:04x}", process % 0x1_0000), subnet, nodes };
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("10.214.{subnet}.254/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for number in 0..nodes {
            let (space, cable) = (network.namespace(number), network.cable(number));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            ip(&["link", "set", &cable, "master", &bridge, "up"])?;
            let address = format!("{}/24", network.address(number));
            ip(&["-n", &space, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    pub(crate) fn namespace(&self, number: usize) -> String {
        format!("{}-{number}", self.tag)
    }

    pub(crate) fn address(&self, number: usize) -> String {
        format!("10.214.{}.{}", self.subnet, number + 1)
    }

    /// Pulls a node's cable.
    pub(crate) fn cut(&self, number: usize) {
        ip(&["link", "set", &self.cable(number), "nomaster"]).expect("a cable can be pulled");
    }

    /// Plugs it in again.
    pub(crate) fn mend(&self, number: usize) {
        let (cable, bridge) = (self.cable(number), self.bridge());
        ip(&["link", "set", &cable, "master", &bridge]).expect("a cable can be plugged in");
    }

    fn bridge(&self) -> String {
        format!("{}b", self.tag)
    }

    fn cable(&self, number: usize) -> String {
        format!("{}v{number}", self.tag)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made cannot be removed, which is fine.
        for number in 0..self.nodes {
            let _ = ip(&["netns", "del", &self.namespace(number)]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}
