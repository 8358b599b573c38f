//! TWAMP-Light and STAMP Session-Reflector on XDP and AF_XDP
