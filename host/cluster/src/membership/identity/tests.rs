use std::os::unix::fs::PermissionsExt as _;

use super::authority::CERTIFICATE_LIFE;
use super::*;

const NOW: u64 = 1_800_000_000;

fn zone() -> ZoneName {
    "eu.acme.example".parse().unwrap()
}

fn directory() -> (tempfile::TempDir, IdentityDirectory) {
    let data = tempfile::tempdir().unwrap();
    let directory = IdentityDirectory::of_data(data.path());
    (data, directory)
}

fn request_of(request: &[u8]) -> Request {
    Request::read(request).unwrap()
}

fn founded(directory: &IdentityDirectory) -> Identity {
    NodeKey::open(directory).unwrap().found(&zone(), NOW).unwrap()
}

fn joined(founder: &Identity, directory: &IdentityDirectory) -> Identity {
    let key = NodeKey::open(directory).unwrap();
    let certificate = founder.authority().sign(&request_of(&key.request().unwrap()), NOW).unwrap();
    key.adopt(founder.authority().certificate().clone(), &certificate, NOW).unwrap()
}

#[test]
fn a_node_stays_itself_over_restarts_and_its_generation_grows() {
    let (_data, directory) = directory();
    assert!(!directory.has_zone());
    let first = founded(&directory);
    assert!(directory.has_zone());
    let generation = first.next_generation(NOW).unwrap();
    let again = NodeKey::open(&directory).unwrap().resume(NOW).unwrap().ok().unwrap();
    assert_eq!((again.id(), again.zone()), (first.id(), &zone()));
    assert_eq!(again.validity(), first.validity());
    assert!(
        again.next_generation(NOW - 3600).unwrap() > generation,
        "although the clock went back"
    );
}

#[test]
fn certificates_are_short_backdated_and_named_after_the_key() {
    let (_data, directory) = directory();
    let founder = founded(&directory);
    let (begins, ends) = founder.validity();
    assert_eq!((begins, ends), (NOW - 7200, NOW + CERTIFICATE_LIFE.as_secs()));
    let pem = std::fs::read(directory.node_certificate()).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let read = NodeCertificate::read(&certificate).unwrap();
    assert_eq!((&read.node, &read.zone), (founder.id(), &zone()));
}

#[test]
fn keys_are_for_their_owner_only() {
    let (_data, directory) = directory();
    drop(founded(&directory));
    for key in [directory.node_key(), directory.authority_key()] {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let error = NodeKey::open(&directory).err().unwrap();
    assert!(matches!(error, MembershipError::Exposed(_)), "{error}");
    assert!(matches!(directory.export_authority(), Err(MembershipError::Exposed(_))));
}

#[test]
fn who_joins_gets_the_name_of_its_key_whatever_it_asks_for() {
    let ((_a, founding), (_b, joining)) = (directory(), directory());
    let founder = founded(&founding);
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    let wish = format!("spiffe://{}/node/{}", zone(), founder.id());
    params.subject_alt_names = vec![rcgen::SanType::URI(wish.try_into().unwrap())];
    let request = params.serialize_request(&pair).unwrap().der().to_vec();
    let certificate = founder.authority().sign(&request_of(&request), NOW).unwrap();
    let read = NodeCertificate::read(&certificate).unwrap();
    assert_eq!(read.node, NodeId::of_public_key(&pair.subject_public_key_info()));
    assert_ne!(&read.node, founder.id());

    let member = joined(&founder, &joining);
    assert!(!member.authority().is_held());
    let error = member.authority().sign(&request_of(&request), NOW).unwrap_err();
    assert!(matches!(error, MembershipError::NoAuthority), "{error}");
    // A certificate of somebody else is of no use.
    assert!(member.renew(certificate).is_err());
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (_data, directory) = directory();
    let founder = founded(&directory);
    let mut request = founder.request().unwrap();
    let last = request.len() - 1;
    request[last] ^= 1;
    for bad in [&request[..], &request[..20], b"", b"nonsense"] {
        let error = Request::read(bad).unwrap_err();
        assert!(matches!(error, MembershipError::Refused(_)), "{error}");
    }
}

#[test]
fn the_zones_key_can_be_held_by_several_and_restored_by_none_of_another_zone() {
    let ((data, founding), (_b, joining), (_c, foreign)) = (directory(), directory(), directory());
    let founder = founded(&founding);
    let member = joined(&founder, &joining);
    let backup = data.path().join("zone.pem");
    files::write_private(&backup, founding.export_authority().unwrap().as_bytes()).unwrap();

    assert_eq!(joining.import_authority(&backup).unwrap(), zone());
    assert!(member.authority().is_held(), "a running node uses it at once");
    member.authority().sign(&request_of(&member.request().unwrap()), NOW).unwrap();

    drop(founded(&foreign));
    let error = foreign.import_authority(&backup).unwrap_err();
    assert!(matches!(error, MembershipError::OtherZone { .. }), "{error}");

    // When every node is lost, the backup alone founds the zone again.
    let (_d, fresh) = directory();
    fresh.import_authority(&backup).unwrap();
    let restored = NodeKey::open(&fresh).unwrap().resume(NOW).unwrap().ok().unwrap();
    assert_eq!(restored.authority().fingerprint(), founder.authority().fingerprint());

    std::fs::set_permissions(&backup, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(fresh.import_authority(&backup), Err(MembershipError::Exposed(_))));
}

#[test]
fn damaged_files_are_named() {
    let (_data, directory) = directory();
    drop(founded(&directory));
    std::fs::write(directory.node_certificate(), "nonsense").unwrap();
    let error = NodeKey::open(&directory).unwrap().resume(NOW).err().unwrap().to_string();
    assert!(error.contains("node.crt is damaged"), "{error}");
}
