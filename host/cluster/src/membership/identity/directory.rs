//! The files of a node's identity, and what holds over all of them.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{Authority, Imported, authority_zone, is_key_file_of, pem_of};
use super::files;
use super::trust::Trust;
use crate::ZoneName;
use crate::membership::MembershipError;

/// The files of an identity.
#[derive(Debug, Clone)]
pub struct IdentityDirectory(pub(super) PathBuf);

impl IdentityDirectory {
    /// The directory below a host's data directory.
    #[must_use]
    pub fn of_data(data: &Path) -> Self {
        Self(data.join("cluster"))
    }

    /// Whether the host of this data directory belongs to a zone.
    #[must_use]
    pub fn has_zone(&self) -> bool {
        self.authority_certificate().exists()
    }

    /// The zone's key and certificate as PEM: all that is needed to let nodes in.
    ///
    /// # Errors
    /// [`MembershipError::NoAuthority`] when the key is not here.
    pub fn export_authority(&self) -> Result<String, MembershipError> {
        let (zone, trust) = self.trust()?.ok_or(MembershipError::NoAuthority)?;
        self.settle(&trust)?;
        Authority::new(zone, trust.newest().certificate.clone(), self.authority_key()).export()
    }

    /// Puts the zone's key, from a file that [`export_authority`](Self::export_authority) filled, where
    /// this host's node finds it. A running one uses it at once. Answers the zone.
    ///
    /// # Errors
    /// [`MembershipError::OtherZone`] when the host belongs to another zone,
    /// [`MembershipError::Exposed`] when others can read the file.
    pub fn import_authority(&self, from: &Path) -> Result<ZoneName, MembershipError> {
        let imported = Imported::read(from)?;
        files::make_directory(&self.0)?;
        match self.trust()? {
            Some((zone, _)) if zone != imported.zone => {
                return Err(MembershipError::OtherZone {
                    held: zone.to_string(),
                    wanted: imported.zone.to_string(),
                });
            }
            Some((zone, trust)) if trust.newest().certificate != imported.certificate => {
                return Err(MembershipError::OtherAuthority(zone.to_string()));
            }
            Some(_) => {}
            None => files::write_private(
                &self.authority_certificate(),
                pem_of(&imported.certificate).as_bytes(),
            )?,
        }
        imported.write_key(&self.authority_key())?;
        Ok(imported.zone)
    }

    /// A file of membership that is no part of the identity.
    pub(in crate::membership) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether this node learnt that it was evicted.
    pub(in crate::membership) fn is_evicted(&self) -> bool {
        self.evicted().exists()
    }

    /// Forgets the identity of a node that was evicted, so that it joins as another one. What ends last is
    /// that it was, so that nothing is half done.
    pub(in crate::membership) fn forget_evicted(&self) -> Result<(), MembershipError> {
        let gone = [
            self.node_certificate(),
            self.node_key(),
            self.trust_file(),
            self.authority_certificate(),
            self.evicted(),
        ];
        gone.iter().try_for_each(|path| files::remove(path))
    }

    /// The zone that the files are of, and whom they trust.
    pub(super) fn trust(&self) -> Result<Option<(ZoneName, Trust)>, MembershipError> {
        let Some(authority) = read_certificate(&self.authority_certificate())? else {
            return Ok(None);
        };
        let zone = authority_zone(&authority)?;
        let trust = Trust::open(&self.trust_file(), zone.clone(), &authority)?;
        Ok(Some((zone, trust)))
    }

    /// Ends what a crash interrupted: the key of a rotation that was decided takes its place, one of a
    /// rotation that was not goes.
    pub(super) fn settle(&self, trust: &Trust) -> Result<(), MembershipError> {
        let newest = &trust.newest().certificate;
        let next = self.next_authority_key();
        if next.exists() {
            if is_key_file_of(&next, newest)? {
                files::rename(&next, &self.authority_key())?;
            } else {
                files::remove(&next)?;
            }
        }
        if read_certificate(&self.authority_certificate())?.as_ref() != Some(newest) {
            files::write_private(&self.authority_certificate(), pem_of(newest).as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn trust_file(&self) -> PathBuf {
        self.0.join("trust.json")
    }

    pub(super) fn evicted(&self) -> PathBuf {
        self.0.join("evicted")
    }

    pub(super) fn next_authority_key(&self) -> PathBuf {
        self.0.join("authority.key.next")
    }

    pub(super) fn node_key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    pub(super) fn node_certificate(&self) -> PathBuf {
        self.0.join("node.crt")
    }

    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.0.join("authority.crt")
    }

    pub(super) fn authority_key(&self) -> PathBuf {
        self.0.join("authority.key")
    }
}

pub(super) fn read_certificate(
    path: &Path,
) -> Result<Option<CertificateDer<'static>>, MembershipError> {
    files::read(path)?
        .map(|text| {
            CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| MembershipError::damaged(path, error))
        })
        .transpose()
}
