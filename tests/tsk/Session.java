// SPDX-License-Identifier: Apache-2.0
// java Session.java MODULE: runs the session of $SESSION_ARGUMENTS in a module that is loaded as Autopsy loads its own.
public class Session {
    static native int run();

    public static void main(String[] arguments) {
        System.load(arguments[0]);
        System.exit(run() == 0 ? 0 : 1);
    }
}
