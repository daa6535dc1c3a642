package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ExamplesDir is the folder of the examples, relative to the test folders.
const ExamplesDir = "../../caddyfile-examples"

// ExampleEnv is the environment that the examples need.
var ExampleEnv = []string{
	"OPENAI_API_KEY=sk-the-providers",
	"ANTHROPIC_API_KEY=sk-ant-the-providers",
	"GEMINI_API_KEY=gemini-the-providers",
	"CHAT_STORE_KEY=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	"ACME_KEY=acme-key",
	"GLOBEX_KEY=globex-key",
	"REDIS_URL=redis://127.0.0.1:6379",
}

// CaddyfileOf returns the absolute path of an example's Caddyfile.
func CaddyfileOf(t testing.TB, name string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(ExamplesDir, name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// StartExample runs an example in a copy of its folder, on free ports. edits are
// pairs of text in its Caddyfile and its replacement.
func StartExample(t testing.TB, name string, edits ...string) *Caddy {
	t.Helper()
	c := &Caddy{T: t, Dir: t.TempDir(), Env: ExampleEnv}
	copyExample(t, c.Dir, filepath.Join(ExamplesDir, name))
	file := filepath.Join(c.Dir, "Caddyfile")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := c.OnFreePorts(string(config))
	for i := 0; i+1 < len(edits); i += 2 {
		if strings.Count(edited, edits[i]) != 1 {
			t.Fatalf("%s: want %q in it once", name, edits[i])
		}
		edited = strings.Replace(edited, edits[i], edits[i+1], 1)
	}
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.Command(t.Context(), "validate", "--config", "Caddyfile").CombinedOutput()
	if err != nil {
		t.Fatalf("caddy validate: %v\n%s", err, out)
	}
	c.Run()
	return c
}

// copyExample copies an example without its data folder, which a run outside the
// tests may have left or still use.
func copyExample(t testing.TB, to, from string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.Name() == "data":
		case e.IsDir():
			err = os.CopyFS(target, os.DirFS(source))
		default:
			var b []byte
			if b, err = os.ReadFile(source); err == nil {
				err = os.WriteFile(target, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// OnFreePorts moves an example's ports, Caddy's own and the site's 8080, to free
// ones, and makes all certificates local.
func (c *Caddy) OnFreePorts(config string) string {
	c.T.Helper()
	site, admin := FreePort(c.T), FreePort(c.T)
	c.URL = fmt.Sprintf("http://127.0.0.1:%d", site)
	c.Admin = fmt.Sprintf("http://127.0.0.1:%d", admin)
	options := fmt.Sprintf("\tadmin 127.0.0.1:%d\n\thttp_port %d\n\thttps_port %d\n\tlocal_certs\n\tskip_install_trust\n",
		admin, FreePort(c.T), FreePort(c.T))
	config = strings.Replace(config, "\n:8080 {\n", fmt.Sprintf("\n:%d {\n", site), 1)
	if before, after, ok := strings.Cut(config, "\n{\n"); ok {
		return before + "\n{\n" + options + after
	}
	return "{\n" + options + "}\n" + config
}
