//! Jobs written without Python: the flow file.

pub mod decode;
pub mod fault;
pub mod source;
