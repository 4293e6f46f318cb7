//! What the tests of Mainspring share.

pub mod pg;
pub mod proxy;
