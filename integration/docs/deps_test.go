package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMissingTools runs .ci/deps, with which make test begins, on a machine that
// lacks most tools.
func TestMissingTools(t *testing.T) {
	for name, tc := range map[string]struct {
		id, ci string
		fails  bool
		want   string // after the list of what is missing
	}{
		"root is told before anything is installed": {id: "0", want: "apt-get update\napt-get install chromium nodejs npm prometheus"},
		"others are told, and the tests run":        {id: "1000", want: "Without them, tests are skipped or fail."},
		"CI fails":                                  {id: "1000", ci: "true", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			for name, script := range map[string]string{
				"id":      "echo " + tc.id,
				"apt-get": `line=apt-get; for word; do case $word in -*|*=*) ;; *) line="$line $word" ;; esac; done; echo "$line"`,
				"make":    "", "gcc": "", "curl": "", "openssl": "", "systemd-analyze": "", "redis-server": "",
			} {
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "../../.ci/deps")
			cmd.Env = []string{"PATH=" + bin, "CI=" + tc.ci}
			out, err := cmd.CombinedOutput()
			if (err != nil) != tc.fails {
				t.Fatalf("%v\n%s", err, out)
			}
			list, after, _ := strings.Cut(string(out), "  prometheus: the alerts and the dashboard's queries\n")
			for _, tool := range []string{"chromium", "nodejs", "npm"} {
				if !strings.Contains(list, "\n  "+tool+": ") {
					t.Errorf("%s is not listed first:\n%s", tool, out)
				}
			}
			if strings.TrimSpace(after) != tc.want {
				t.Errorf("got\n%s\nwant at the end\n%s", out, tc.want)
			}
		})
	}
}
