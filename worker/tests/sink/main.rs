//! The file of JSON lines, through the sink's public door: what is in it after batches, repeats, crashes,
//! rotation and a full disk.

mod support;

mod lines;
mod repeats;
mod repair;
mod rotation;
mod full_disk;
mod stdout;
