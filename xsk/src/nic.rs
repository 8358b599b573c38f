//! Facts about an interface, asked by ioctl(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::Error;
use crate::sys;

/// An interface of this network namespace.
///
/// It is known by its index; the facts are asked by name, and so fail after a renaming.
#[derive(Debug)]
pub struct Nic {
    name: String,
    /// `name`, terminated.
    pub(crate) c_name: CString,
    index: u32,
    /// Any socket will do: it says which network namespace is meant.
    pub(crate) control: OwnedFd,
}

/// How many queues an interface has (`ETHTOOL_GCHANNELS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Queues that receive: `combined` and `rx` together.
    pub rx: u32,
    /// Queues that transmit: `combined` and `tx` together.
    pub tx: u32,
    /// As many as can ever receive (`ethtool -L`): what a map of queues has to have room for.
    pub rx_max: u32,
}

/// State of a link (`IFF_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFlags(i32);

impl LinkFlags {
    /// Administratively up (`IFF_UP`).
    pub fn is_up(self) -> bool {
        self.0 & libc::IFF_UP != 0
    }

    /// Up and with carrier (`IFF_RUNNING`).
    pub fn is_running(self) -> bool {
        self.0 & libc::IFF_RUNNING != 0
    }

    /// The loopback interface (`IFF_LOOPBACK`).
    pub fn is_loopback(self) -> bool {
        self.0 & libc::IFF_LOOPBACK != 0
    }
}

/// That there is none says nothing of any interface.
fn control() -> Result<OwnedFd, Error> {
    sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM)
        .map_err(|source| Error::from_io("open a control socket", source))
}

impl Nic {
    /// The interface of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`], or [`Error::Io`] if no socket to ask by can be had.
    pub fn by_name(name: &str) -> Result<Nic, Error> {
        let missing = || Error::NoSuchInterface {
            interface: name.to_owned(),
        };
        let c_name = CString::new(name).map_err(|_| missing())?;
        let control = control()?;
        // An unknown and a too long name are the same to the caller.
        let index = sys::interface_index(control.as_fd(), &c_name).map_err(|_| missing())?;
        Ok(Nic {
            name: name.to_owned(),
            c_name,
            index,
            control,
        })
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub fn by_index(index: u32) -> Result<Nic, Error> {
        let missing = || Error::NoSuchInterface {
            interface: format!("number {index}"),
        };
        let control = control()?;
        let name = sys::interface_name(control.as_fd(), index).map_err(|_| missing())?;
        let c_name = CString::new(name.as_str()).map_err(|_| missing())?;
        Ok(Nic {
            name,
            c_name,
            index,
            control,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index, from 1.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// How many queues it has; a driver that cannot say has one of each.
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn channels(&self) -> Result<Channels, Error> {
        let answer = sys::interface_channels(self.control.as_fd(), &self.c_name);
        let channels = self.told("count the interface's queues", answer)?;
        let channels = channels.unwrap_or_default();
        let of = |more: u32| channels.combined_count.saturating_add(more).max(1);
        let rx = of(channels.rx_count);
        Ok(Channels {
            rx,
            tx: of(channels.tx_count),
            rx_max: channels
                .max_combined
                .saturating_add(channels.max_rx)
                .max(rx),
        })
    }

    /// Largest packet in octets, without the Ethernet header.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`] if it was removed or renamed, else [`Error::Io`].
    pub fn mtu(&self) -> Result<u32, Error> {
        let mtu = sys::interface_mtu(self.control.as_fd(), &self.c_name)
            .map_err(|error| self.sort("ask for the interface's MTU", error))?;
        Ok(mtu.unsigned_abs())
    }

    /// Whether the link is up and has carrier.
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn flags(&self) -> Result<LinkFlags, Error> {
        sys::interface_flags(self.control.as_fd(), &self.c_name)
            .map(LinkFlags)
            .map_err(|error| self.sort("ask for the interface's state", error))
    }

    /// Its Ethernet address, or `None` if it is no Ethernet interface (loopback counts as one and
    /// has the address zero).
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn mac(&self) -> Result<Option<[u8; 6]>, Error> {
        let (kind, address) = sys::interface_address(self.control.as_fd(), &self.c_name)
            .map_err(|error| self.sort("ask for the interface's address", error))?;
        Ok([libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK]
            .contains(&kind)
            .then_some(address))
    }

    /// The name of its driver; `None` from one that does not tell.
    ///
    /// # Errors
    /// As [`mtu`](Self::mtu).
    pub fn driver(&self) -> Result<Option<String>, Error> {
        let answer = sys::interface_driver(self.control.as_fd(), &self.c_name);
        self.told("ask for the interface's driver", answer)
    }

    /// An answer, or `None` from a driver that does not know the question.
    pub(crate) fn told<T>(
        &self,
        operation: &'static str,
        answer: io::Result<T>,
    ) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(self.sort(operation, error)),
        }
    }

    fn sort(&self, operation: &'static str, source: io::Error) -> Error {
        if source.raw_os_error() == Some(libc::ENODEV) {
            return Error::NoSuchInterface {
                interface: self.name.clone(),
            };
        }
        Error::from_io(operation, source)
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    #[test]
    fn tells_the_facts_of_the_loopback_interface() {
        let lo = Nic::by_name("lo").unwrap();
        assert_eq!(lo.name(), "lo");
        assert_eq!(Nic::by_index(lo.index()).unwrap().name(), "lo");
        assert!(lo.flags().unwrap().is_loopback());
        assert_eq!(lo.mac().unwrap(), Some([0; 6]));
        assert!(lo.mtu().unwrap() >= 1280);
        // The loopback driver does not count its queues.
        assert_eq!(
            lo.channels().unwrap(),
            Channels {
                rx: 1,
                tx: 1,
                rx_max: 1
            }
        );
        assert_eq!(lo.driver().unwrap(), None);
    }

    #[test]
    fn says_which_interface_is_missing() {
        for name in [
            "no-such-nic",
            "a-name-that-is-far-too-long",
            "with\0nul",
            "",
        ] {
            let error = Nic::by_name(name).unwrap_err();
            let Error::NoSuchInterface { interface } = error else {
                panic!("{error}")
            };
            assert_eq!(interface, name);
        }
        let error = Nic::by_index(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("number 4294967295"), "{error}");
    }
}
