//! Settings of reverse proxies in front of the server.

use std::num::NonZeroUsize;

use hcrs_forwarded::{ForwardedStyle, Forwarding, Trust};
use hcrs_http::PathPrefix;
use hcrs_server::{Bind, Listener, ProxySettings};

use crate::bind::binds;
use crate::value::{Datum, GivenValue, Mistake, Place};

/// Variable shared with Gunicorn and Uvicorn.
const VARIABLE: &str = "FORWARDED_ALLOW_IPS";

/// Settings of proxies that are being read.
#[derive(Default)]
pub(crate) struct Proxies {
    pub(crate) settings: ProxySettings,
    /// Value of `proxy_headers`; if unset, the legacy fields are read as soon as any proxy is trusted.
    pub(crate) headers: Option<(Option<ForwardedStyle>, Place)>,
    pub(crate) hops: Option<NonZeroUsize>,
    pub(crate) prefix: bool,
    pub(crate) protocol: Option<ProxyProtocol>,
}

/// Listeners that expect the PROXY protocol.
pub(crate) enum ProxyProtocol {
    /// Every listener, or none.
    All(bool, Place),
    /// The listeners with these addresses.
    Some(Vec<Bind>, Place),
}

impl Proxies {
    /// Applies the shared variable, which the file and the flags override.
    pub(crate) fn apply_environment(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let Some(words) = variable(VARIABLE) else { return };
        match add(&mut self.settings.trusted, &words, &Place::Nowhere) {
            Ok(()) => {}
            Err(Mistake { place, message }) => {
                let message = format!("environment variable {VARIABLE}: {message}");
                mistakes.push(Mistake { place, message });
            }
        }
    }

    /// Checks the settings together and marks the listeners that expect the PROXY protocol.
    pub(crate) fn finish(mut self, listeners: &mut [Listener], mistakes: &mut Vec<Mistake>) -> ProxySettings {
        let trusts_none = self.settings.trusted.is_empty();
        let without_trust = |key: &str, place: Place| {
            let message =
                format!("{key}: no proxy is trusted; name the proxies in forwarded_allow_ips of [hcrs]");
            Mistake { place, message }
        };
        let style = match self.headers {
            Some((Some(_), place)) if trusts_none => {
                mistakes.push(without_trust("proxy_headers", place));
                None
            }
            Some((style, _)) => style,
            None => (!trusts_none).then_some(ForwardedStyle::Legacy),
        };
        self.settings.forwarded =
            style.map(|style| Forwarding { style, hops: self.hops, prefix: self.prefix });
        match self.protocol {
            Some(ProxyProtocol::All(true, place) | ProxyProtocol::Some(_, place)) if trusts_none => {
                mistakes.push(without_trust("proxy_protocol", place));
            }
            Some(ProxyProtocol::All(expected, _)) => {
                for listener in listeners {
                    listener.proxy_protocol = expected;
                }
            }
            Some(ProxyProtocol::Some(binds, place)) => {
                for bind in binds {
                    match listeners.iter_mut().find(|listener| listener.bind == bind) {
                        Some(listener) => listener.proxy_protocol = true,
                        None => mistakes.push(Mistake {
                            place: place.clone(),
                            message: format!(
                                "proxy_protocol: {bind} is neither in bind nor in insecure_bind; name one of \
                                 their addresses"
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

/// Returns trusted peers: addresses, networks, `unix` and `*`, in one string with commas or in an array.
pub(crate) fn trust(given: &GivenValue<'_>) -> Result<Trust, Mistake> {
    let mut trust = Trust::default();
    for (words, place) in given.text_or_texts()? {
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

/// Returns the style of the fields that are read, and the place where it was given.
pub(crate) fn headers(given: &GivenValue<'_>) -> Result<Option<(Option<ForwardedStyle>, Place)>, Mistake> {
    let style = match given.text() {
        Ok("legacy") => Some(ForwardedStyle::Legacy),
        Ok("modern") => Some(ForwardedStyle::Modern),
        Ok("off") => None,
        _ => {
            return Err(given.expected("\"legacy\" (X-Forwarded-*), \"modern\" (Forwarded) or \"off\""));
        }
    };
    Ok(Some((style, given.value.place.clone())))
}

/// Returns the prefix that a proxy removes from each path, or `None` if it is empty.
pub(crate) fn prefix(given: &GivenValue<'_>) -> Result<Option<PathPrefix>, Mistake> {
    match given.text()? {
        "" | "/" => Ok(None),
        text => PathPrefix::parse(text).map(Some).ok_or_else(|| {
            given.expected("a path of at most 255 bytes in the form of a request, as in \"/api\"")
        }),
    }
}

/// Returns the listeners that expect the PROXY protocol: `true` for all of them, or their addresses.
pub(crate) fn protocol(given: &GivenValue<'_>) -> Result<Option<ProxyProtocol>, Mistake> {
    let place = given.value.place.clone();
    Ok(Some(match given.value.datum {
        Datum::Boolean(expected) => ProxyProtocol::All(expected, place),
        Datum::Text(_) | Datum::Array(_) => ProxyProtocol::Some(binds(given)?, place),
        _ => return Err(given.expected("true, false or the addresses of listeners")),
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
        draft.finish(&source).map(|finished| finished.server).map_err(|error| error.to_string())
    }

    fn proxies(environment: Option<&str>, text: &str) -> ProxySettings {
        read(environment, text).unwrap().proxies
    }

    #[test]
    fn no_proxy_is_trusted_by_default() {
        let settings = proxies(None, "");
        assert!(settings.trusted.is_empty() && settings.forwarded.is_none() && !settings.drop_untrusted);
        assert!(proxies(Some(" "), "").trusted.is_empty());
    }

    #[test]
    fn the_legacy_fields_are_read_once_a_proxy_is_trusted() {
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
    fn the_file_overrides_the_variable() {
        assert!(proxies(Some("*"), "").trusted.everyone);
        assert!(proxies(Some("*"), "").forwarded.is_some());
        let settings = proxies(Some("*"), "[hcrs]\nforwarded_allow_ips = 'unix'");
        assert!(!settings.trusted.everyone && settings.trusted.unix);
        assert!(proxies(Some("*"), "[hcrs]\nproxy_headers = 'off'").forwarded.is_none());
        let error = read(Some("localhost"), "").unwrap_err();
        assert!(error.contains("FORWARDED_ALLOW_IPS") && error.contains("localhost"), "{error}");
    }

    #[test]
    fn the_proxy_protocol_is_expected_by_listeners() {
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
    fn mistakes_name_the_correction() {
        for (text, words) in [
            ("proxy_headers = 'modern'", &["no proxy is trusted", "forwarded_allow_ips"][..]),
            ("proxy_protocol = true", &["no proxy is trusted"]),
            ("proxy_protocol = '127.0.0.1:8000'", &["no proxy is trusted"]),
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
