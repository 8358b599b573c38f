//! AF_XDP sockets: UMEM, rings, wake-up, statistics
