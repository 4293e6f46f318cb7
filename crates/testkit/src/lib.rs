//! What the tests of Mainspring share.

pub mod conformance;
pub mod memory;
pub mod pg;
pub mod proxy;

pub use memory::MemoryStore;
