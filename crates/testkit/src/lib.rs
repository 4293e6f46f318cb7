//! What the tests of Mainspring share.

pub mod browser;
pub mod conformance;
pub mod dice;
pub mod fuzz;
pub mod gate;
pub mod memory;
pub mod outside;
pub mod pg;
pub mod proxy;
pub mod sim;

pub use memory::MemoryStore;
