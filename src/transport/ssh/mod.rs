//! Hosts reached by OpenSSH.
