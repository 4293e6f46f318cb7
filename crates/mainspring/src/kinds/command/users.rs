//! Users of this host, from `/etc/passwd` and `/etc/group`. Directories behind the name service
//! (LDAP and the like) are not asked: that needs foreign code in this process.

use super::super::launcher::Identity;
use std::fs;

/// A line of `/etc/passwd`, with the groups the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub home: String,
    pub identity: Identity,
}

/// The user of this name, or of this number.
pub(super) fn find(name: &str) -> Option<User> {
    in_files(
        &fs::read_to_string("/etc/passwd").ok()?,
        &fs::read_to_string("/etc/group").unwrap_or_default(),
        |u| u.name == name || u.identity.uid.to_string() == name,
    )
}

/// The user with this number.
pub(super) fn by_id(uid: u32) -> Option<User> {
    find(&uid.to_string())
}

fn in_files(passwd: &str, group: &str, wanted: impl Fn(&User) -> bool) -> Option<User> {
    let mut user = passwd.lines().filter_map(line).find(wanted)?;
    for line in group.lines() {
        let mut fields = line.split(':');
        if let (Some(gid), Some(members)) = (fields.nth(2), fields.next())
            && members.split(',').any(|m| m.trim() == user.name)
            && let Ok(gid) = gid.parse()
            && !user.identity.groups.contains(&gid)
        {
            user.identity.groups.push(gid);
        }
    }
    Some(user)
}

fn line(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, _] = fields[..] else { return None };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let home = if home.is_empty() { "/" } else { home };
    Some(User { name: name.into(), home: home.into(), identity: Identity { uid, gid, groups: vec![gid] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n+nis\nbad:x:one:1::/:/bin/sh\n\
                          mail:x:8:12:mail:/var/mail:/usr/sbin/nologin\nbare:x:9:9:::\n";
    const GROUP: &str = "root:x:0:\nmail:x:12:\npost:x:50:other,mail\nshort\ntwice:x:12:mail\n";

    #[test]
    fn a_user_comes_with_home_and_groups() {
        let mail = in_files(PASSWD, GROUP, |u| u.name == "mail").unwrap();
        assert_eq!((mail.home.as_str(), mail.identity.uid, mail.identity.gid), ("/var/mail", 8, 12));
        assert_eq!(mail.identity.groups, [12, 50]);
        assert_eq!(in_files(PASSWD, GROUP, |u| u.identity.uid == 9).unwrap().home, "/");
        assert_eq!(in_files(PASSWD, GROUP, |u| u.name == "bad" || u.name == "+nis"), None);
    }
}
