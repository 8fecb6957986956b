//! The integration suite: one module per subject, one binary.

mod house;
mod services;
mod store_contract;
mod testbed;
mod transport_contract;
