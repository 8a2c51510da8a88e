//! Which driver: by name, by environment, by platform.

use std::env;
use std::fmt;
use std::io;
use std::str::FromStr;

use super::epoll::Epoll;

const VARIABLE: &str = "VELODROME_DRIVER";

/// The drivers one can ask for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// Linux's own.
    Epoll,
    /// What the platform has, through the `polling` crate. Where there is epoll it is not built in by itself: the feature
    /// `portable` brings it.
    Portable,
}

impl DriverKind {
    pub(super) const BEST: Self = if Epoll::EXISTS { Self::Epoll } else { Self::Portable };
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        match name {
            "epoll" => Ok(Self::Epoll),
            "portable" => Ok(Self::Portable),
            _ => Err(UnknownDriver(name.to_owned())),
        }
    }
}

/// A name that no driver has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownDriver(String);

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no driver called {:?}; there are epoll and portable", self.0)
    }
}

impl std::error::Error for UnknownDriver {}

/// The driver the environment names, or `None` where it leaves the choice to us.
pub(super) fn from_environment() -> io::Result<Option<DriverKind>> {
    match env::var_os(VARIABLE) {
        // A value that is not UTF-8 names no driver either; it is shown as well as can be.
        Some(value) => from_value(&value.to_string_lossy()),
        None => Ok(None),
    }
}

fn from_value(value: &str) -> io::Result<Option<DriverKind>> {
    if matches!(value, "" | "auto") {
        return Ok(None);
    }
    let kind = value.parse::<DriverKind>();
    kind.map(Some).map_err(|_| {
        let sentence = format!("{VARIABLE} is {value:?}, which is no driver; use auto, epoll or portable");
        io::Error::new(io::ErrorKind::InvalidInput, sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_agree() {
        for kind in [DriverKind::Epoll, DriverKind::Portable] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn the_environment_may_leave_it_to_us() {
        assert_eq!(from_value("").unwrap(), None);
        assert_eq!(from_value("auto").unwrap(), None);
        assert_eq!(from_value("portable").unwrap(), Some(DriverKind::Portable));
        assert_eq!(from_value("epoll").unwrap(), Some(DriverKind::Epoll));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let error = from_value("kqeue").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "VELODROME_DRIVER is \"kqeue\", which is no driver; use auto, epoll or portable"
        );
        assert!("".parse::<DriverKind>().unwrap_err().to_string().contains("epoll"));
    }
}
