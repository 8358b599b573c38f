//! The Session-Sender packet.

use super::{REQUEST_LEN, STAMP_LEN, TooShort, field, header_mut};
use crate::error_estimate::ErrorEstimate;

/// Octets of a packet up to the end of the Session Identifier.
const SSID_END: usize = 16;

/// A view of a Session-Sender packet (RFC 5357 section 4.1.2).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    header: &'a [u8; REQUEST_LEN],
    padding: &'a [u8],
}

impl<'a> Request<'a> {
    /// Views a UDP payload as a request.
    ///
    /// # Errors
    /// The payload is shorter than [`REQUEST_LEN`]: such a packet is not answered.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, TooShort> {
        match payload.split_first_chunk() {
            Some((header, padding)) => Ok(Self { header, padding }),
            None => Err(TooShort {
                needed: REQUEST_LEN,
                len: payload.len(),
            }),
        }
    }

    /// Sequence Number.
    #[inline]
    pub fn sequence(&self) -> u32 {
        field::SEQUENCE.read_u32(self.header)
    }

    /// T1 as it is on the wire; the Error Estimate tells the format.
    #[inline]
    pub fn timestamp(&self) -> [u8; 8] {
        field::TIMESTAMP.read(self.header)
    }

    /// Error Estimate of T1.
    #[inline]
    pub fn error_estimate(&self) -> ErrorEstimate {
        ErrorEstimate::from_bits(field::ERROR_ESTIMATE.read_u16(self.header))
    }

    /// Octets after the header: padding, or the rest of a STAMP packet.
    #[inline]
    pub fn padding(&self) -> &'a [u8] {
        self.padding
    }

    /// STAMP Session Identifier (RFC 8972 section 3): the first two octets after the header, which a
    /// TWAMP sender may have filled with anything. 0 if they are not there.
    #[inline]
    pub fn ssid(&self) -> u16 {
        self.padding
            .first_chunk()
            .map_or(0, |&ssid| u16::from_be_bytes(ssid))
    }
}

/// Whether `payload` has the 44 octets of a STAMP base packet and zeros where its sender leaves zeros
/// (RFC 8762 section 4.2.1), as TWAMP-Light padding that is not all zero will not.
#[inline]
pub fn is_stamp_request(payload: &[u8]) -> bool {
    payload
        .first_chunk::<STAMP_LEN>()
        .is_some_and(|packet| field::STAMP_MBZ.read(packet) == [0; 28])
}

/// What a Session-Sender writes into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFields {
    /// Sequence Number: 0, then one more per packet, modulo 2^32.
    pub sequence: u32,
    /// T1 in the format that `error_estimate` names.
    pub timestamp: [u8; 8],
    /// Error Estimate of T1.
    pub error_estimate: ErrorEstimate,
}

impl RequestFields {
    /// Writes the first [`REQUEST_LEN`] octets of `payload` and leaves the padding alone.
    ///
    /// # Errors
    /// There is no room for that many octets; nothing is written.
    #[inline]
    pub fn emit(&self, payload: &mut [u8]) -> Result<(), TooShort> {
        let header = header_mut::<REQUEST_LEN>(payload)?;
        field::SEQUENCE.write(header, self.sequence.to_be_bytes());
        field::TIMESTAMP.write(header, self.timestamp);
        field::ERROR_ESTIMATE.write_u16(header, self.error_estimate.to_bits());
        Ok(())
    }
}

/// Writes T1 alone into a packet that [`RequestFields::emit`] has written: the last thing to be done
/// before it leaves. The Error Estimate that is there must name the same format.
///
/// # Errors
/// `payload` is shorter than [`REQUEST_LEN`]; nothing is written.
#[inline]
pub fn write_request_timestamp(payload: &mut [u8], timestamp: [u8; 8]) -> Result<(), TooShort> {
    let header = header_mut::<REQUEST_LEN>(payload)?;
    field::TIMESTAMP.write(header, timestamp);
    Ok(())
}

/// Writes the STAMP Session Identifier (RFC 8972 section 3) of a Session-Sender packet.
///
/// # Errors
/// `payload` ends before octet 16; nothing is written.
#[inline]
pub fn write_ssid(payload: &mut [u8], ssid: u16) -> Result<(), TooShort> {
    let header = header_mut::<SSID_END>(payload)?;
    field::SSID.write_u16(header, ssid);
    Ok(())
}
