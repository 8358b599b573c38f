//! VLAN tags that an interface takes off what it receives, which XDP then does not see.

use std::os::fd::AsFd;

use crate::error::Error;
use crate::nic::Nic;
use crate::sys::{self, FeatureBlock, FeatureChange};

/// Which VLAN tags an interface takes off what it receives, to hand them over beside the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanStripping {
    /// Those of customer VLANs (IEEE 802.1Q, `EtherType` 0x8100): the feature rx-vlan-hw-parse,
    /// which ethtool(8) also calls rx-vlan-offload or rxvlan.
    pub customer: bool,
    /// Those of service VLANs (IEEE 802.1ad, `EtherType` 0x88a8): rx-vlan-stag-hw-parse.
    pub service: bool,
}

/// Names of the two features (`netdev_features_strings`, net/ethtool/common.c).
const CUSTOMER: &str = "rx-vlan-hw-parse";
const SERVICE: &str = "rx-vlan-stag-hw-parse";

impl VlanStripping {
    /// Neither.
    pub const OFF: VlanStripping = VlanStripping {
        customer: false,
        service: false,
    };

    /// Any of the two.
    pub const fn is_on(self) -> bool {
        self.customer || self.service
    }

    /// What to tell `ethtool -K INTERFACE` to switch off those that are on; empty if none is.
    pub const fn ethtool_off(self) -> &'static str {
        match (self.customer, self.service) {
            (false, false) => "",
            (true, false) => "rxvlan off",
            (false, true) => "rx-vlan-stag-hw-parse off",
            (true, true) => "rxvlan off rx-vlan-stag-hw-parse off",
        }
    }
}

/// The bits of the two features among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    customer: Option<usize>,
    service: Option<usize>,
    /// Blocks of 32 features that there are.
    blocks: usize,
}

impl Places {
    /// By their names: the numbers differ from kernel to kernel.
    fn among(names: &[String]) -> Places {
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        Places {
            customer: place(CUSTOMER),
            service: place(SERVICE),
            blocks: names.len().div_ceil(32),
        }
    }

    /// Which of the two are on.
    fn state(self, features: &[FeatureBlock]) -> VlanStripping {
        let is_active = |place: Option<usize>| {
            place.is_some_and(|place| {
                let block = features.get(place / 32);
                block.is_some_and(|block| block.active & bit(place) != 0)
            })
        };
        VlanStripping {
            customer: is_active(self.customer),
            service: is_active(self.service),
        }
    }

    /// What to change to have them as `wanted`, as far as they can be switched.
    fn changes(self, features: &[FeatureBlock], wanted: VlanStripping) -> Vec<FeatureChange> {
        let mut changes = vec![FeatureChange::default(); features.len()];
        for (place, on) in [
            (self.customer, wanted.customer),
            (self.service, wanted.service),
        ] {
            let Some(place) = place else { continue };
            let block = place / 32;
            let bit = bit(place);
            if let (Some(change), Some(now)) = (changes.get_mut(block), features.get(block))
                && now.available & bit != 0
                && (now.active & bit != 0) != on
            {
                change.valid |= bit;
                change.requested |= if on { bit } else { 0 };
            }
        }
        changes
    }
}

const fn bit(place: usize) -> u32 {
    1 << (place % 32)
}

impl Nic {
    /// Which VLAN tags it takes off, as its features say. A driver that cannot say takes off none.
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn vlan_stripping(&self) -> Result<VlanStripping, Error> {
        let told = self.vlan_features()?;
        Ok(told.map_or(VlanStripping::OFF, |(places, features)| {
            places.state(&features)
        }))
    }

    /// Which VLAN tags an XDP program does not see. Network cards take them off before it;
    /// `veth` only passes on what its peer keeps beside a packet, whatever it says of itself, and
    /// leaves tags within a packet where they are: it counts as one that takes off none.
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn hidden_vlan_tags(&self) -> Result<VlanStripping, Error> {
        let stripping = self.vlan_stripping()?;
        if stripping.is_on() && self.driver()?.as_deref() == Some("veth") {
            return Ok(VlanStripping::OFF);
        }
        Ok(stripping)
    }

    /// Switches that on or off, and returns what it is then: a driver may not be able to, and is no
    /// error. Many network cards reset their link for it.
    ///
    /// # Errors
    /// [`Error::Permission`] without `CAP_NET_ADMIN`, else as [`mtu`](Self::mtu).
    pub fn set_vlan_stripping(&self, wanted: VlanStripping) -> Result<VlanStripping, Error> {
        let Some((places, features)) = self.vlan_features()? else {
            return Ok(VlanStripping::OFF);
        };
        let changes = places.changes(&features, wanted);
        if changes.iter().any(|change| change.valid != 0) {
            let answer = sys::set_interface_features(self.control.as_fd(), &self.c_name, &changes);
            self.told("change the interface's features", answer)?;
        }
        self.vlan_stripping()
    }

    fn vlan_features(&self) -> Result<Option<(Places, Vec<FeatureBlock>)>, Error> {
        let control = self.control.as_fd();
        let names = self.told(
            "list the names of interface features",
            sys::feature_names(control, &self.c_name),
        )?;
        let Some(names) = names else {
            return Ok(None);
        };
        let places = Places::among(&names);
        let features = self.told(
            "ask for the interface's features",
            sys::interface_features(control, &self.c_name, places.blocks),
        )?;
        Ok(features.map(|features| (places, features)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: VlanStripping = VlanStripping {
        customer: true,
        service: true,
    };

    /// Bit 33 is the one feature, bit 2 the other.
    fn places() -> Places {
        let mut names = vec![String::new(); 34];
        names[33] = CUSTOMER.to_owned();
        names[2] = SERVICE.to_owned();
        Places::among(&names)
    }

    fn features(available: [u32; 2], active: [u32; 2]) -> [FeatureBlock; 2] {
        [0, 1].map(|block| FeatureBlock {
            available: available[block],
            active: active[block],
        })
    }

    #[test]
    fn the_state_is_that_of_the_bits_with_the_right_names() {
        let state = |active| places().state(&features([0, 0], active));
        assert_eq!(state([!0b100, !0b10]), VlanStripping::OFF);
        assert_eq!(state([0b100, 0b10]), BOTH);
        let service = VlanStripping {
            customer: false,
            service: true,
        };
        assert_eq!(state([0b100, 0]), service);
    }

    #[test]
    fn only_these_features_are_changed_and_only_where_they_can_be() {
        let change = |available, active, wanted| {
            let changes = places().changes(&features(available, active), wanted);
            changes.iter().map(|to| (to.valid, to.requested)).collect()
        };
        let changes: Vec<_> = change([!0; 2], [!0; 2], VlanStripping::OFF);
        assert_eq!(changes, [(0b100, 0), (0b10, 0)]);
        let changes: Vec<_> = change([!0; 2], [0; 2], BOTH);
        assert_eq!(changes, [(0b100, 0b100), (0b10, 0b10)]);
        let changes: Vec<_> = change([!0; 2], [!0, 0], VlanStripping::OFF);
        assert_eq!(changes, [(0b100, 0), (0, 0)], "one is off already");
        let changes: Vec<_> = change([0; 2], [!0; 2], VlanStripping::OFF);
        assert_eq!(changes, [(0, 0), (0, 0)], "the driver cannot");
    }

    #[test]
    fn a_kernel_without_these_names_strips_nothing() {
        let places = Places::among(&["rx-vlan-filter".to_owned()]);
        assert_eq!((places.customer, places.service), (None, None));
        let features = features([!0; 2], [!0; 2]);
        assert_eq!(places.state(&features), VlanStripping::OFF);
        let changes = places.changes(&features, BOTH);
        assert!(changes.iter().all(|change| change.valid == 0));
    }

    #[test]
    fn ethtool_is_told_what_is_on() {
        assert_eq!(VlanStripping::OFF.ethtool_off(), "");
        assert_eq!(BOTH.ethtool_off(), "rxvlan off rx-vlan-stag-hw-parse off");
    }
}
