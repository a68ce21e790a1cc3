use super::*;

#[test]
fn a_damaged_file_of_the_same_length_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let components = Components::open(directory.path()).unwrap();
    let bytes = vec![7; 3 * COMPARED_BYTES + 1];
    let digest = Digest::of(&bytes);
    for damaged in [0, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[damaged] = 0;
        fs::write(components.path(&digest), other).unwrap();
        assert!(components.verify(&digest).is_err());
        components.put(&bytes, &digest).unwrap();
        components.verify(&digest).unwrap();
    }
}

#[test]
fn a_whole_file_is_left_as_it_is() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let components = Components::open(directory.path()).unwrap();
    let (bytes, digest) = (b"component", Digest::of(b"component"));
    let inode = |components: &Components| fs::metadata(components.path(&digest)).unwrap().ino();
    components.put(bytes, &digest).unwrap();
    let before = inode(&components);
    components.put(bytes, &digest).unwrap();
    assert_eq!(inode(&components), before);
}

#[test]
fn what_another_agent_uploads_too_is_counted_whoever_forgets_it() {
    let directory = tempfile::tempdir().unwrap();
    let components = Components::open(directory.path()).unwrap();
    let tenant = TenantName::default_tenant();
    let [one, two] = ["one", "two"].map(|name| AgentName::new(name).unwrap());
    let digest = Digest::of(b"component");
    let left = || components.uploaded_bytes((&tenant, &one), &[], &[digest]);
    assert!(components.count_upload((&tenant, &one), digest, 9));
    assert_eq!(left(), 0);
    assert!(components.count_upload((&tenant, &two), digest, 9));
    assert!(!components.count_upload((&tenant, &two), digest, 9));
    assert_eq!(left(), 9, "the other one may be about to have it");
    components.discount_upload((&tenant, &two), &digest);
    assert_eq!(left(), 0);
    assert_eq!(components.uploaded_bytes((&tenant, &two), &[], &[digest]), 9);
    components.discount_upload((&tenant, &one), &digest);
    assert!(components.uploads().is_empty());
}
