//! Frames rewritten in place.
//!
//! A checksum is the sum of what never changes, taken once, and of the few fields that do.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::Range;

use etherparse::IpNumber;
use wire::checksum::{Sum, udp_wire};
use wire::error_estimate::ErrorEstimate;
use wire::twamp::{REQUEST_LEN, RequestFields, write_request_timestamp, write_ssid};

use super::template::Template;
use super::{FrameError, FrameSpec};

// Headers, and fields counted from the start of each (RFC 791, RFC 8200, RFC 768).
const IPV4_LEN: usize = 20;
const ID_V4: Range<usize> = 4..6;
const CHECKSUM_V4: Range<usize> = 10..12;
const SOURCE_V4: Range<usize> = 12..16;
const IPV6_LEN: usize = 40;
const SOURCE_V6: Range<usize> = 8..24;
const UDP_LEN: usize = 8;
const UDP_SOURCE_PORT: Range<usize> = 0..2;
const UDP_LENGTH: Range<usize> = 4..6;
const UDP_CHECKSUM: Range<usize> = 6..8;

/// Octets of a probe up to the end of the Session Identifier of STAMP.
const SSID_END: usize = 16;

/// Writes the probes of a run into frame buffers.
///
/// A clone counts IPv4 identifications on its own.
#[derive(Debug, Clone)]
pub struct FrameWriter {
    template: Template,
    ip: Ip,
    /// UDP checksum, less what [`FrameWriter::prepare`] and [`FrameWriter::stamp`] write.
    datagram: Sum,
    /// Octets 14 and 15 of the payload where the session has no identifier; `None` if the payload
    /// ends before them.
    unidentified: Option<u16>,
}

/// What differs between the IP versions.
#[derive(Debug, Clone)]
enum Ip {
    V4 {
        /// Header checksum, less source address and identification.
        header: Sum,
        /// Of the next packet, where packets may be fragmented. With DF it means nothing and
        /// stays 0 (RFC 6864 section 4.1).
        identification: Option<Cell<u16>>,
    },
    V6,
}

/// A frame that lacks T1 and its UDP checksum: what [`FrameWriter::stamp`] needs to finish it. Not
/// to be copied, so that a frame is finished once.
#[derive(Debug)]
#[must_use = "the frame is not finished without T1 and checksum"]
pub struct Pending {
    sum: Sum,
}

impl FrameWriter {
    /// Builds the template and sums it up.
    ///
    /// # Errors
    /// The specification makes no frame: see [`FrameError`].
    pub fn new(spec: &FrameSpec) -> Result<Self, FrameError> {
        let template = Template::build(spec)?;
        let ip = match spec.target.ip() {
            IpAddr::V4(_) => Ip::V4 {
                // Neither the identification nor the checksum is anything but 0 in the template.
                header: Sum::new()
                    .add(octets(
                        &template,
                        template.l3..template.l3 + SOURCE_V4.start,
                    ))
                    .add(octets(&template, template.l3 + SOURCE_V4.end..template.l4)),
                identification: (!spec.dont_fragment).then(|| Cell::new(0)),
            },
            IpAddr::V6(_) => Ip::V6,
        };
        let payload = template.l4 + UDP_LEN;
        let unidentified = spec
            .payload
            .get(REQUEST_LEN..SSID_END)
            .and_then(<[u8]>::first_chunk)
            .map(|&octets| u16::from_be_bytes(octets));
        let constant = payload + unidentified.map_or(REQUEST_LEN, |_| SSID_END);
        let udp = octets(&template, template.l4..payload);
        // Source port and checksum are 0 in the template. The length counts twice: in the header
        // and in the pseudo-header.
        let datagram = address_sum(spec.target.ip())
            .add_u16(u16::from(IpNumber::UDP.0))
            .add(udp.get(UDP_LENGTH).unwrap_or_default())
            .add(udp)
            .add(octets(&template, constant..template.octets.len()));
        Ok(Self {
            template,
            ip,
            datagram,
            unidentified,
        })
    }

    /// Octets of a frame, without the frame check sequence. A network card brings short ones to
    /// the minimum of Ethernet.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.template.octets.len()
    }

    /// Copies the template into a buffer, which is ready for [`FrameWriter::prepare`] then.
    ///
    /// # Errors
    /// [`FrameError::Buffer`]: `frame` does not have [`FrameWriter::len`] octets.
    pub fn fill(&self, frame: &mut [u8]) -> Result<(), FrameError> {
        if frame.len() != self.len() {
            return Err(self.wrong(frame));
        }
        frame.copy_from_slice(&self.template.octets);
        Ok(())
    }

    /// Writes all of a probe but T1 and the UDP checksum into a buffer that was filled once.
    ///
    /// Without an `ssid` octets 14 and 15 are those of the padding.
    ///
    /// # Errors
    /// [`FrameError::Buffer`]: `frame` does not have [`FrameWriter::len`] octets;
    /// [`FrameError::Family`]: the source is not of the target's address family;
    /// [`FrameError::NoSsid`]: the payload has no room for the identifier. The frame is not to be
    /// sent then.
    #[inline]
    pub fn prepare(
        &self,
        frame: &mut [u8],
        source: (IpAddr, u16),
        sequence: u32,
        ssid: Option<u16>,
        error_estimate: ErrorEstimate,
    ) -> Result<Pending, FrameError> {
        let (address, port) = source;
        let (network, udp, payload) = self.split(frame)?;
        let address = match (&self.ip, address) {
            (
                Ip::V4 {
                    header,
                    identification,
                },
                IpAddr::V4(address),
            ) => {
                let id = identification
                    .as_ref()
                    .map_or(0, |id| id.replace(id.get().wrapping_add(1)));
                write_ipv4(network, *header, address.octets(), id)
            }
            (Ip::V6, IpAddr::V6(address)) => write_ipv6(network, address.octets()),
            _ => return Err(FrameError::Family),
        };
        udp[UDP_SOURCE_PORT].copy_from_slice(&port.to_be_bytes());
        let request = RequestFields {
            sequence,
            timestamp: [0; 8],
            error_estimate,
        };
        // `split` found room for it.
        let _ = request.emit(payload);
        let ssid = match (ssid, self.unidentified) {
            (Some(_), None) => return Err(FrameError::NoSsid),
            (None, None) => 0,
            (ssid, Some(unidentified)) => {
                let ssid = ssid.unwrap_or(unidentified);
                write_ssid(payload, ssid).map_err(|_| FrameError::NoSsid)?;
                ssid
            }
        };
        let sum = self
            .datagram
            .plus(address)
            .add_u16(port)
            .add(&sequence.to_be_bytes())
            .add_u16(error_estimate.to_bits())
            .add_u16(ssid);
        Ok(Pending { sum })
    }

    /// Writes T1, in the format that the Error Estimate names, and the UDP checksum.
    ///
    /// `frame` is the one that `pending` came from.
    ///
    /// # Errors
    /// [`FrameError::Buffer`]: `frame` does not have [`FrameWriter::len`] octets; nothing is
    /// written.
    #[inline]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "taken away, so that a frame is finished once"
    )]
    pub fn stamp(&self, frame: &mut [u8], pending: Pending, t1: [u8; 8]) -> Result<(), FrameError> {
        let Pending { sum } = pending;
        let checksum = udp_wire(sum.add(&t1).checksum());
        let (_, udp, payload) = self.split(frame)?;
        udp[UDP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        // `split` found room for it.
        let _ = write_request_timestamp(payload, t1);
        Ok(())
    }

    /// IP header, UDP header and payload, which has room for a probe.
    #[inline]
    fn split<'a>(&self, frame: &'a mut [u8]) -> Result<Parts<'a>, FrameError> {
        let wrong = self.wrong(frame);
        let Template { octets, l3, l4 } = &self.template;
        if frame.len() != octets.len() {
            return Err(wrong);
        }
        let (head, datagram) = frame.split_at_mut_checked(*l4).ok_or(wrong)?;
        let network = head.get_mut(*l3..).ok_or(wrong)?;
        let (udp, payload) = datagram.split_first_chunk_mut().ok_or(wrong)?;
        Ok((network, udp, payload))
    }

    #[inline]
    fn wrong(&self, frame: &[u8]) -> FrameError {
        FrameError::Buffer {
            needed: self.len(),
            len: frame.len(),
        }
    }
}

type Parts<'a> = (&'a mut [u8], &'a mut [u8; UDP_LEN], &'a mut [u8]);

/// Writes identification, source address and checksum, and returns the address's sum.
#[inline]
fn write_ipv4(header: &mut [u8], constant: Sum, source: [u8; 4], id: u16) -> Sum {
    let address = Sum::new().add(&source);
    let checksum = constant.plus(address).add_u16(id).checksum();
    // The template has a whole header there.
    if let Some(header) = header.first_chunk_mut::<IPV4_LEN>() {
        header[ID_V4].copy_from_slice(&id.to_be_bytes());
        header[CHECKSUM_V4].copy_from_slice(&checksum.to_be_bytes());
        header[SOURCE_V4].copy_from_slice(&source);
    }
    address
}

/// Writes the source address and returns its sum.
#[inline]
fn write_ipv6(header: &mut [u8], source: [u8; 16]) -> Sum {
    // The template has a whole header there.
    if let Some(header) = header.first_chunk_mut::<IPV6_LEN>() {
        header[SOURCE_V6].copy_from_slice(&source);
    }
    Sum::new().add(&source)
}

fn address_sum(address: IpAddr) -> Sum {
    match address {
        IpAddr::V4(v4) => Sum::new().add(&v4.octets()),
        IpAddr::V6(v6) => Sum::new().add(&v6.octets()),
    }
}

/// A part of the template, nothing if it is beyond the end.
fn octets(template: &Template, range: Range<usize>) -> &[u8] {
    template.octets.get(range).unwrap_or_default()
}
