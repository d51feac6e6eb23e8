//! Network addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

impl Object for Ipv4Addr {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.octets());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.array::<4>().map(Ipv4Addr::from)
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        4
    }
}

impl Object for Ipv6Addr {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.octets());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.array::<16>().map(Ipv6Addr::from)
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        16
    }
}

impl Object for SocketAddrV4 {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.ip().octets());
        encoder.put(&self.port().to_le_bytes());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(SocketAddrV4::new(
            Ipv4Addr::decode(decoder)?,
            u16::decode(decoder)?,
        ))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        6
    }
}

impl Object for SocketAddrV6 {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.ip().octets());
        encoder.put(&self.port().to_le_bytes());
        encoder.put(&self.flowinfo().to_le_bytes());
        encoder.put(&self.scope_id().to_le_bytes());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(SocketAddrV6::new(
            Ipv6Addr::decode(decoder)?,
            u16::decode(decoder)?,
            u32::decode(decoder)?,
            u32::decode(decoder)?,
        ))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        26
    }
}

/// An address of either version, preceded by the version's number.
macro_rules! either {
    ($($address:ident $v4:ident $v6:ident $least:literal;)*) => {$(
        impl Object for $address {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                match self {
                    $address::V4(address) => {
                        encoder.put(&[4]);
                        address.encode(encoder);
                    }
                    $address::V6(address) => {
                        encoder.put(&[6]);
                        address.encode(encoder);
                    }
                }
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                match decoder.byte()? {
                    4 => $v4::decode(decoder).map($address::V4),
                    6 => $v6::decode(decoder).map($address::V6),
                    tag => Err(decoder.error("4 or 6, for a version of IP", tag)),
                }
            }

            fn describe(_: &mut Shape) {}

            fn least_bytes() -> usize {
                $least
            }
        }
    )*};
}

either! {
    IpAddr Ipv4Addr Ipv6Addr 5;
    SocketAddr SocketAddrV4 SocketAddrV6 7;
}
