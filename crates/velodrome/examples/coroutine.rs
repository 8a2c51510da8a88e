//! The smallest program there is: one coroutine that waits a little and says so.
//!
//!     cargo run -p velodrome --example coroutine

use std::time::Duration;

async fn my_coroutine() {
    // Perform some asynchronous operations
    velodrome::sleep(Duration::from_secs(1)).await;
    println!("Coroutine finished");
}

// Run the coroutine
fn main() -> std::io::Result<()> {
    velodrome::run(my_coroutine())
}
