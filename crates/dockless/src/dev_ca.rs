//! The development authority: certificates for this platform's own names, for people who trust it on their own machine.
//!
//! Its key could be stolen like any file, so it is worth little: its certificate names the only hosts and networks that it
//! may speak for (RFC 5280 §4.2.1.10), which clients check. Certificates are made when a client asks for a name. One
//! wildcard would not do: clients take `*.localhost` for a claim on a top-level domain.

use anyhow::Context as _;
use dockless_gateway::{Issued, Issuer};
use dockless_model::{Digest, Host};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Ten years: it is trusted by hand, and that is not done twice.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Made anew long before, see the gateway.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks differ.
const EARLIER: Duration = Duration::from_secs(24 * 3600);

/// Where an authority is kept.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its certificate, for everybody.
    pub(crate) certificate: PathBuf,
    /// Its key, for root.
    pub(crate) key: PathBuf,
}

/// Makes the authority of a domain in a data folder, if it is not there already.
pub(crate) fn keep(data: &Path, domain: &Host) -> anyhow::Result<Place> {
    let folder = data.join("tls").join(domain.as_str());
    let place = Place { certificate: folder.join("ca.pem"), key: folder.join("ca.key") };
    if place.certificate.exists() && place.key.exists() {
        return Ok(place);
    }
    let make = || -> anyhow::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        let key = KeyPair::generate()?;
        let authority = params(domain, &key).self_signed(&key)?;
        write(&place.key, &key.serialize_pem(), 0o600)?;
        write(&place.certificate, &authority.pem(), 0o644)
    };
    make().with_context(|| format!("cannot make a development authority in {}", folder.display()))?;
    Ok(place)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::File::options().create_new(true).write(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(std::fs::rename(&fresh, path)?)
}

/// The authority's own certificate follows from its key and domain, so that it need not be read back.
fn params(domain: &Host, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let fingerprint = Digest::of(key.public_key_raw()).to_string();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Dockless development authority for {domain} ({})", &fingerprint[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let subnets = [
        CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0]),
        CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]),
        CidrSubnet::V4([172, 16, 0, 0], [255, 240, 0, 0]),
        CidrSubnet::V4([192, 168, 0, 0], [255, 255, 0, 0]),
        CidrSubnet::from_v6_prefix(std::net::Ipv6Addr::LOCALHOST.octets(), 128),
        CidrSubnet::from_v6_prefix([0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 7),
    ];
    let mut permitted = vec![GeneralSubtree::DnsName("localhost".to_owned())];
    if domain.as_str() != "localhost" {
        permitted.push(GeneralSubtree::DnsName(domain.to_string()));
    }
    permitted.extend(subnets.map(GeneralSubtree::IpAddress));
    params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    let now = SystemTime::now();
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    params
}

/// Whether an address is one that the authority may speak for.
fn is_private(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Makes certificates in the name of the authority.
pub(crate) struct Authority {
    domain: Host,
    addresses: Vec<IpAddr>,
    issuer: rcgen::Issuer<'static, KeyPair>,
    /// Of all certificates.
    key: KeyPair,
}

impl Authority {
    /// `addresses`: what clients may connect to by number, beside the loopback.
    pub(crate) fn new(domain: Host, key_pem: &str, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key_pem).context("cannot read the development authority's key")?;
        let issuer = rcgen::Issuer::new(params(&domain, &key), key);
        let mut all: Vec<IpAddr> = vec![std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        for address in addresses.iter().filter(|address| is_private(address)) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        Ok(Self { domain, addresses: all, issuer, key: KeyPair::generate()? })
    }

    fn is_ours(&self, name: &Host) -> bool {
        let under = |domain: &str| {
            name.as_str() == domain
                || name.as_str().strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        };
        under(self.domain.as_str()) || under("localhost")
    }

    fn make(&self, name: Option<&Host>) -> anyhow::Result<Issued> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let shown = name.unwrap_or(&self.domain);
        // The field holds 64 characters.
        params.distinguished_name.push(DnType::CommonName, shown.as_str().chars().take(64).collect::<String>());
        let mut names: Vec<String> = name.map(ToString::to_string).into_iter().collect();
        names.extend(["localhost".to_owned(), self.domain.to_string()]);
        // Some clients refuse the whole certificate for a wildcard right below a top-level domain.
        if self.domain.as_str().contains('.') {
            names.push(format!("*.{}", self.domain));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        params.not_before = (now - EARLIER).into();
        params.not_after = (now + CERTIFICATE_LIFE).into();
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: self.key.serialize_pem() })
    }
}

impl Issuer for Authority {
    fn issue(&self, name: Option<&str>) -> Option<Issued> {
        let name = match name {
            Some(name) => Some(name.parse::<Host>().ok().filter(|name| self.is_ours(name))?),
            None => None,
        };
        self.make(name.as_ref())
            .inspect_err(|error| tracing::error!(%error, "cannot make a development certificate"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_speaks_for_its_own_names_alone() {
        let data = tempfile::tempdir().unwrap();
        let domain: Host = "apps.test".parse().unwrap();
        let place = keep(data.path(), &domain).unwrap();
        let (certificate, key) =
            (std::fs::read(&place.certificate).unwrap(), std::fs::read_to_string(&place.key).unwrap());
        keep(data.path(), &domain).unwrap();
        assert_eq!(std::fs::read(&place.certificate).unwrap(), certificate);
        let authority = Authority::new(domain, &key, &["192.168.1.7".parse().unwrap()]).unwrap();
        for (name, ours) in [
            ("apps.test", true),
            ("x-1.apps.test", true),
            ("x-1.localhost", true),
            ("localhost", true),
            ("apps.test.evil.example", false),
            ("xapps.test", false),
            ("example.com", false),
            ("..", false),
        ] {
            assert_eq!(authority.issue(Some(name)).is_some(), ours, "{name}");
        }
        assert!(authority.issue(None).is_some());
    }
}
