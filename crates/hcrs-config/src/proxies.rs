//! The keys about proxies that stand before the server.

use std::num::NonZeroUsize;

use hcrs_forwarded::{ForwardedStyle, Forwarding, Trust};
use hcrs_http::PathPrefix;
use hcrs_server::{Bind, Listener, ProxySettings};

use crate::table::binds;
use crate::value::{Datum, Given, Mistake, Place};

/// The variable that Gunicorn and Uvicorn read as well.
const VARIABLE: &str = "FORWARDED_ALLOW_IPS";

/// What has been read so far.
#[derive(Default)]
pub(crate) struct Proxies {
    pub(crate) settings: ProxySettings,
    /// Unsaid, the old fields are read as soon as somebody is trusted.
    pub(crate) headers: Option<(Option<ForwardedStyle>, Place)>,
    pub(crate) hops: Option<NonZeroUsize>,
    pub(crate) prefix: bool,
    pub(crate) protocol: Option<Protocol>,
}

/// Which listeners expect the PROXY protocol.
pub(crate) enum Protocol {
    All(bool, Place),
    Some(Vec<Bind>, Place),
}

impl Proxies {
    /// Applies the environment, which the file and the flags win over.
    pub(crate) fn apply_environment(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let Some(words) = variable(VARIABLE) else { return };
        match add(&mut self.settings.trusted, &words, &Place::Nowhere) {
            Ok(()) => {}
            Err(Mistake { place, message }) => {
                mistakes
                    .push(Mistake { place, message: format!("{VARIABLE} of the environment: {message}") });
            }
        }
    }

    /// Checks the whole and marks the listeners.
    pub(crate) fn finish(mut self, listeners: &mut [Listener], mistakes: &mut Vec<Mistake>) -> ProxySettings {
        let nobody = self.settings.trusted.is_empty();
        let nobody_for = |key: &str, place: Place| {
            let message =
                format!("{key}: nobody is trusted, name the proxies in forwarded_allow_ips of [hcrs]");
            Mistake { place, message }
        };
        let style = match self.headers {
            Some((Some(_), place)) if nobody => {
                mistakes.push(nobody_for("proxy_headers", place));
                None
            }
            Some((style, _)) => style,
            None => (!nobody).then_some(ForwardedStyle::Legacy),
        };
        self.settings.forwarded =
            style.map(|style| Forwarding { style, hops: self.hops, prefix: self.prefix });
        match self.protocol {
            Some(Protocol::All(true, place) | Protocol::Some(_, place)) if nobody => {
                mistakes.push(nobody_for("proxy_protocol", place));
            }
            Some(Protocol::All(expected, _)) => {
                for listener in listeners {
                    listener.proxy_protocol = expected;
                }
            }
            Some(Protocol::Some(binds, place)) => {
                for bind in binds {
                    match listeners.iter_mut().find(|listener| listener.bind == bind) {
                        Some(listener) => listener.proxy_protocol = true,
                        None => mistakes.push(Mistake {
                            place: place.clone(),
                            message: format!(
                                "proxy_protocol: {bind} is neither in bind nor in insecure_bind"
                            ),
                        }),
                    }
                }
            }
            None => {}
        }
        self.settings
    }
}

/// Addresses, networks, `unix` and `*`: in one string with commas, or in an array.
pub(crate) fn trust(value: &Given<'_>) -> Result<Trust, Mistake> {
    let mut trust = Trust::default();
    for (words, place) in value.text_or_texts()? {
        add(&mut trust, words, place)?;
    }
    Ok(trust)
}

fn add(trust: &mut Trust, words: &str, place: &Place) -> Result<(), Mistake> {
    trust.add(words).map_err(|(word, error)| Mistake {
        place: place.clone(),
        message: format!("{word:?} cannot be trusted: {error}"),
    })
}

/// Which fields are read.
pub(crate) fn headers(value: &Given<'_>) -> Result<Option<(Option<ForwardedStyle>, Place)>, Mistake> {
    let style = match value.text() {
        Ok("legacy") => Some(ForwardedStyle::Legacy),
        Ok("modern") => Some(ForwardedStyle::Modern),
        Ok("off") => None,
        _ => {
            return Err(value.expected("\"legacy\" (X-Forwarded-*), \"modern\" (Forwarded) or \"off\""));
        }
    };
    Ok(Some((style, value.value.place.clone())))
}

/// What a proxy takes off each path; nothing if it is empty.
pub(crate) fn prefix(value: &Given<'_>) -> Result<Option<PathPrefix>, Mistake> {
    match value.text()? {
        "" | "/" => Ok(None),
        text => PathPrefix::parse(text).map(Some).ok_or_else(|| {
            value.expected("a path as requests have it, such as \"/api\", of 255 bytes at most")
        }),
    }
}

/// `true` for every listener, or the binds of those that expect it.
pub(crate) fn protocol(value: &Given<'_>) -> Result<Option<Protocol>, Mistake> {
    let place = value.value.place.clone();
    Ok(Some(match value.value.datum {
        Datum::Boolean(expected) => Protocol::All(expected, place),
        Datum::Text(_) | Datum::Array(_) => Protocol::Some(binds(value)?, place),
        _ => return Err(value.expected("true, false or the binds of those listeners")),
    }))
}

#[cfg(test)]
mod tests {
    use hcrs_server::Settings;

    use super::*;
    use crate::draft::Draft;
    use crate::source::Source;

    fn read(environment: Option<&str>, text: &str) -> Result<Settings, String> {
        let mut draft = Draft::default();
        let source = Source::new("hcrs.toml".into(), text.into());
        draft.proxies.apply_environment(|_| environment.map(str::to_owned), &mut draft.mistakes);
        crate::read::apply_file(&source, &mut draft);
        draft.finish(&source).map(|config| config.server).map_err(|error| error.to_string())
    }

    fn proxies(environment: Option<&str>, text: &str) -> ProxySettings {
        read(environment, text).unwrap().proxies
    }

    #[test]
    fn nobody_is_believed_unless_it_is_written() {
        let settings = proxies(None, "");
        assert!(settings.trusted.is_empty() && settings.forwarded.is_none() && !settings.drop_untrusted);
        assert!(proxies(Some(" "), "").trusted.is_empty());
    }

    #[test]
    fn trust_brings_the_old_fields_with_it() {
        let old = Some(Forwarding { style: ForwardedStyle::Legacy, hops: None, prefix: false });
        let settings = proxies(None, "[hcrs]\nforwarded_allow_ips = '127.0.0.1, unix'");
        assert_eq!((settings.forwarded, settings.trusted.unix), (old, true));
        let settings =
            proxies(None, "[hcrs]\nforwarded_allow_ips = ['::1', '10.0.0.0/8']\nproxy_headers = 'off'");
        assert_eq!((settings.forwarded, settings.trusted.networks.len()), (None, 2));
        let settings =
            proxies(None, "[hcrs]\nforwarded_allow_ips = '*'\nproxy_headers = 'modern'\ntrusted_hops = 2");
        let hops = NonZeroUsize::new(2);
        assert_eq!(
            settings.forwarded,
            Some(Forwarding { style: ForwardedStyle::Modern, hops, prefix: false })
        );
    }

    #[test]
    fn the_environment_trusts_unless_the_file_does() {
        assert!(proxies(Some("*"), "").trusted.everyone);
        assert!(proxies(Some("*"), "").forwarded.is_some());
        let settings = proxies(Some("*"), "[hcrs]\nforwarded_allow_ips = 'unix'");
        assert!(!settings.trusted.everyone && settings.trusted.unix);
        assert!(proxies(Some("*"), "[hcrs]\nproxy_headers = 'off'").forwarded.is_none());
        let error = read(Some("localhost"), "").unwrap_err();
        assert!(error.contains("FORWARDED_ALLOW_IPS") && error.contains("localhost"), "{error}");
    }

    #[test]
    fn the_proxy_protocol_is_a_matter_of_listeners() {
        let of = |text: &str| -> Vec<bool> {
            let text = format!("bind = ['a:1', 'b:2']\n[hcrs]\nforwarded_allow_ips = '::1'\n{text}");
            read(None, &text).unwrap().listeners.iter().map(|listener| listener.proxy_protocol).collect()
        };
        assert_eq!(of(""), [false, false]);
        assert_eq!(of("proxy_protocol = false"), [false, false]);
        assert_eq!(of("proxy_protocol = true"), [true, true]);
        assert_eq!(of("proxy_protocol = 'b:2'"), [false, true]);
    }

    #[test]
    fn mistakes_name_what_was_meant() {
        for (text, words) in [
            ("proxy_headers = 'modern'", &["nobody is trusted", "forwarded_allow_ips"][..]),
            ("proxy_protocol = true", &["nobody is trusted"]),
            ("proxy_protocol = '127.0.0.1:8000'", &["nobody is trusted"]),
            ("forwarded_allow_ips = '::1'\nproxy_protocol = ['h:1']", &["h:1", "neither in bind"]),
            ("forwarded_allow_ips = '10.0.0.1/8'", &["10.0.0.0/8"]),
            ("forwarded_allow_ips = 'proxy'", &["\"proxy\"", "expected an address"]),
            ("forwarded_allow_ips = 1", &["a string or an array"]),
            ("proxy_headers = true", &["legacy", "modern", "off"]),
            ("proxy_protocol = 1", &["true, false"]),
            ("trusted_hops = -1", &["trusted_hops", "whole number"]),
            ("proxy_protocol_timeout = 0", &["proxy_protocol_timeout"]),
        ] {
            let error = read(None, &format!("[hcrs]\n{text}")).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
    }
}
