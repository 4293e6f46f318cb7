//! What a program that embeds the library does first, so that it can run command jobs: become the
//! launcher when it was started as one. The tests of kind `command` use it as theirs.

fn main() {
    // Before anything else, and above all before a thread is started.
    mainspring::kinds::launcher::intercept();
    println!("this is where the program would open its store and run its node");
}
