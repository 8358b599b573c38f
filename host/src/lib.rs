//! What this host's kernel says of its interfaces and addresses, by rtnetlink(7).
//!
//! - [`HostView`] is a picture of links and addresses, read by two dumps; what follows from it
//!   (which VLAN device or VRF a packet belongs to, which addresses are local there) is computed
//!   without asking again, so that tests build the picture by hand.
//! - [`ChangeWatch`] tells when to read it anew.
//! - [`Netlink`] asks single questions, for whoever needs more than the picture.
//!
//! All of it is of the network namespace of the thread that opens the socket. Kernel facts are those
//! of Linux 6.18; the files are named where a fact is used.

mod address;
mod link;
mod netlink;
mod view;
mod watch;

pub use address::{Address, is_link_local};
pub use link::{Link, LinkKind};
pub use netlink::Netlink;
pub use view::HostView;
pub use watch::ChangeWatch;
