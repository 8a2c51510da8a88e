//! A few futures of several kinds, all of them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Await several futures at once, and get a tuple of their outputs: `asyncio.gather`.
///
/// They run within the task that awaits this, so they may borrow from it; each is polled whenever one of them was woken.
/// Up to twelve; for more, or a list, there is [`join_all`](crate::join_all). An output that is an error stops none of
/// the others: see [`task_group`](crate::task_group).
///
/// **Cancel safety**: dropping it drops the futures, and the outputs that were there.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{gather, sleep};
///
/// velodrome::run(async {
///     let name = String::from("world");
///     let (sum, greeting, ()) = gather!(
///         async { 1 + 2 },
///         async { format!("hello {name}") },
///         sleep(Duration::from_millis(1)),
///     )
///     .await;
///     assert_eq!((sum, greeting.as_str()), (3, "hello world"));
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[macro_export]
macro_rules! gather {
    ($($future:expr),+ $(,)?) => {
        $crate::Gather::gather(($($future,)+))
    };
}

/// A tuple of futures, for [`gather!`](crate::gather!).
///
/// ```
/// use velodrome::Gather;
///
/// let both = (async { 1 }, async { "two" });
/// assert_eq!(velodrome::run(both.gather())?, (1, "two"));
/// # std::io::Result::Ok(())
/// ```
pub trait Gather {
    /// The tuple of their outputs.
    ///
    /// ```
    /// use velodrome::Gather;
    ///
    /// async fn both<G: Gather<Outputs = (u8, u8)>>(futures: G) -> u8 {
    ///     let (one, other) = futures.gather().await;
    ///     one + other
    /// }
    /// # assert_eq!(velodrome::run(both((async { 1 }, async { 2 })))?, 3);
    /// # std::io::Result::Ok(())
    /// ```
    type Outputs;

    /// Await all of them.
    ///
    /// ```
    /// use velodrome::Gather;
    /// assert_eq!(velodrome::run((async { 1 }, async { "two" }).gather())?, (1, "two"));
    /// # std::io::Result::Ok(())
    /// ```
    fn gather(self) -> impl Future<Output = Self::Outputs>;
}

macro_rules! tuple {
    ($($future:ident $output:ident),+) => {
        impl<$($future: Future),+> Gather for ($($future,)+) {
            type Outputs = ($($future::Output,)+);

            #[allow(non_snake_case, reason = "each future is called by its type")]
            async fn gather(self) -> Self::Outputs {
                let ($($future,)+) = self;
                $(let (mut $future, mut $output) = (pin!(Some($future)), None);)+
                poll_fn(|cx| {
                    let mut open = false;
                    $(
                        if let Some(future) = $future.as_mut().as_pin_mut() {
                            match future.poll(cx) {
                                Poll::Ready(value) => {
                                    $output = Some(value);
                                    $future.set(None);
                                }
                                Poll::Pending => open = true,
                            }
                        }
                    )+
                    if open {
                        return Poll::Pending;
                    }
                    match ($($output.take(),)+) {
                        ($(Some($output),)+) => Poll::Ready(($($output,)+)),
                        // Polled again after it was done.
                        _ => Poll::Pending,
                    }
                })
                .await
            }
        }
    };
}

tuple!(A a);
tuple!(A a, B b);
tuple!(A a, B b, C c);
tuple!(A a, B b, C c, D d);
tuple!(A a, B b, C c, D d, E e);
tuple!(A a, B b, C c, D d, E e, F f);
tuple!(A a, B b, C c, D d, E e, F f, G g);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l);
