//! The runtime inside the program.
#![no_std]
