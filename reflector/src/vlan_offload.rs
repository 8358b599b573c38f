//! VLAN tags stay within the packets for as long as the reflector runs.
//!
//! A network card that takes tags off hands them over beside the packet, where an XDP program cannot
//! see them without help from the driver: a packet in a VLAN would be answered as an untagged one, in
//! the wrong network.

use tracing::{debug, info, warn};
use xsk::{Nic, VlanStripping};

use crate::error::Error;

/// Keeps an interface from taking VLAN tags off; what it did before is restored on drop.
///
/// A process that is killed restores nothing.
#[derive(Debug)]
pub struct VlanOffload {
    ifindex: u32,
    /// What to switch on again.
    switched_off: VlanStripping,
}

impl VlanOffload {
    /// Switches it off, if it is on. Many network cards reset their link for it, so it is done before
    /// anybody waits for the link.
    ///
    /// # Errors
    ///
    /// [`Error::VlanTagsHidden`] if the driver cannot. What it could is undone then.
    pub fn off(ifindex: u32) -> Result<Self, Error> {
        let mut offload = Self {
            ifindex,
            switched_off: VlanStripping::OFF,
        };
        offload.switch_off(&Nic::by_index(ifindex)?, Nic::hidden_vlan_tags)?;
        Ok(offload)
    }

    /// What to know of tags that may be beside packets all the same: on a veth, whose other end
    /// decides.
    pub fn doubt(&self) -> Option<String> {
        let nic = Nic::by_index(self.ifindex).ok()?;
        // Only a veth is left with it: see `Nic::hidden_vlan_tags`.
        let stripping = nic.vlan_stripping().ok()?;
        stripping.is_on().then(|| {
            format!(
                "{} is a veth: packets of a VLAN device at its other end look untagged, unless that \
                 end writes their tags itself (`ethtool -K PEER txvlan off` there)",
                nic.name()
            )
        })
    }

    /// Looks whether it stayed off, and switches it off again: a driver may have changed its mind, or
    /// an administrator. To be called when the kernel tells of a change of the interface.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    pub fn keep_off(&mut self) -> Result<(), Error> {
        let nic = Nic::by_index(self.ifindex)?;
        if self.switch_off(&nic, Nic::hidden_vlan_tags)? {
            warn!(
                "somebody made {} take VLAN tags off again: packets in VLANs may have gone \
                 unanswered, or been answered as untagged",
                nic.name()
            );
        }
        Ok(())
    }

    /// Whether there was something to switch off. `hidden` asks for it.
    fn switch_off(
        &mut self,
        nic: &Nic,
        hidden: fn(&Nic) -> Result<VlanStripping, xsk::Error>,
    ) -> Result<bool, Error> {
        let before = hidden(nic)?;
        if !before.is_on() {
            return Ok(false);
        }
        // Noted first: of two features, the driver may let go of one.
        self.switched_off = union(self.switched_off, before);
        verify(nic.name(), nic.set_vlan_stripping(VlanStripping::OFF)?)?;
        info!(
            "{} takes VLAN tags off no more while the reflector runs (ethtool -K {0} {})",
            nic.name(),
            before.ethtool_off()
        );
        Ok(true)
    }

    fn restore(&self) -> Result<(), xsk::Error> {
        let nic = Nic::by_index(self.ifindex)?;
        let wanted = union(nic.vlan_stripping()?, self.switched_off);
        if nic.set_vlan_stripping(wanted)? == wanted {
            info!("{} takes VLAN tags off again, as before", nic.name());
        } else {
            warn!(
                "{} does not take VLAN tags off again, as it did before: undo `ethtool -K {0} {}`",
                nic.name(),
                self.switched_off.ethtool_off()
            );
        }
        Ok(())
    }
}

impl Drop for VlanOffload {
    fn drop(&mut self) {
        if !self.switched_off.is_on() {
            return;
        }
        match self.restore() {
            Ok(()) => {}
            Err(error @ xsk::Error::NoSuchInterface { .. }) => debug!("{error}"),
            Err(error) => warn!("cannot restore the taking off of VLAN tags: {error}"),
        }
    }
}

/// Refuses what the driver did not let go of.
fn verify(interface: &str, left: VlanStripping) -> Result<(), Error> {
    if left.is_on() {
        return Err(Error::VlanTagsHidden {
            interface: interface.to_owned(),
            stripping: left,
        });
    }
    Ok(())
}

const fn union(one: VlanStripping, other: VlanStripping) -> VlanStripping {
    VlanStripping {
        customer: one.customer || other.customer,
        service: one.service || other.service,
    }
}

#[cfg(test)]
mod tests {
    use testbed::{Namespace, Need, skip_unless};

    use super::*;

    const BOTH: VlanStripping = VlanStripping {
        customer: true,
        service: true,
    };

    /// A veth has the feature, though it does nothing: the tests do not ask whether tags are hidden.
    fn on_a_veth(test: impl FnOnce(Nic) + Send) {
        let namespace = Namespace::new().unwrap();
        namespace
            .ip("link add near type veth peer name far")
            .unwrap();
        namespace.run(|| test(Nic::by_name("near").unwrap()));
    }

    fn off_as_it_says(nic: &Nic) -> VlanOffload {
        let mut offload = VlanOffload {
            ifindex: nic.index(),
            switched_off: VlanStripping::OFF,
        };
        assert!(offload.switch_off(nic, Nic::vlan_stripping).unwrap());
        offload
    }

    #[test]
    fn tags_stay_on_for_the_run_and_what_was_is_restored() {
        skip_unless!(Need::NetworkNamespace);
        on_a_veth(|nic| {
            let service = VlanStripping {
                customer: false,
                service: true,
            };
            for before in [service, BOTH] {
                nic.set_vlan_stripping(before).unwrap();
                let mut offload = off_as_it_says(&nic);
                assert_eq!(nic.vlan_stripping().unwrap(), VlanStripping::OFF);
                assert!(!offload.switch_off(&nic, Nic::vlan_stripping).unwrap());
                drop(offload);
                assert_eq!(nic.vlan_stripping().unwrap(), before);
            }
        });
    }

    #[test]
    fn somebody_else_switching_it_on_is_noticed() {
        skip_unless!(Need::NetworkNamespace);
        on_a_veth(|nic| {
            let mut offload = off_as_it_says(&nic);
            nic.set_vlan_stripping(BOTH).unwrap();
            assert!(offload.switch_off(&nic, Nic::vlan_stripping).unwrap());
            assert_eq!(nic.vlan_stripping().unwrap(), VlanStripping::OFF);
        });
    }

    #[test]
    fn an_interface_that_hides_no_tags_is_left_alone() {
        skip_unless!(Need::NetworkNamespace);
        on_a_veth(|nic| {
            let mut offload = VlanOffload::off(nic.index()).unwrap();
            offload.keep_off().unwrap();
            assert_eq!(nic.vlan_stripping().unwrap(), BOTH);
        });
    }

    #[test]
    fn an_interface_that_is_gone_has_nothing_to_restore() {
        skip_unless!(Need::NetworkNamespace);
        on_a_veth(|nic| {
            let offload = VlanOffload {
                ifindex: nic.index() + 1000,
                switched_off: BOTH,
            };
            let error = offload.restore().unwrap_err();
            assert!(matches!(error, xsk::Error::NoSuchInterface { .. }));
        });
    }

    #[test]
    fn a_driver_that_does_not_let_go_is_an_error_with_a_way_out() {
        verify("eth1", VlanStripping::OFF).unwrap();
        let error = verify("eth1", BOTH).unwrap_err();
        assert_eq!(
            error.to_string(),
            "eth1 takes VLAN tags off before XDP sees them, and its driver does not let go of it: \
             try `ethtool -K eth1 rxvlan off rx-vlan-stag-hw-parse off`, or use another interface"
        );
    }
}
