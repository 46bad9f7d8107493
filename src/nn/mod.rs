//! L4. The network: so far its files ([`weights`]).

pub mod weights;
