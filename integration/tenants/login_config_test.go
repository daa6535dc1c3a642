package tenants

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// validate checks a site whose from jwt has these options, with files beside
// it, and returns what Caddy prints.
func validate(t testing.TB, options string, files map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	config := fmt.Sprintf("{\n\tadmin off\n}\n\nhttp://127.0.0.1:1 {\n\ttenant_resolve {\n\t\tfrom jwt {\n%s\n\t\t}\n\t}\n}\n", options)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.RunCaddy(t, dir, "validate", "--config", "Caddyfile")
}

func TestLoginIsValidated(t *testing.T) {
	t.Setenv("SHORT_SECRET", "hunter2hunter2")
	t.Setenv("JWT_SECRET", jwtSecret)
	t.Setenv("ISSUER_KEYS", "http://127.0.0.1:1/keys")
	key := withKey(t, newKey(t), "a")
	for name, tt := range map[string]struct {
		options string
		file    string // keys
		says    string // "" for a valid configuration
	}{
		"an issuer that is down":     {"jwks http://127.0.0.1:1/keys", "", ""},
		"a URL by placeholder":       {"jwks {env.ISSUER_KEYS}", "", ""},
		"a JWKS":                     {"jwks keys", keySet(t, key), ""},
		"a public key":               {"public_key keys", publicPEM(t, key), ""},
		"two public keys":            {"public_key keys", publicPEM(t, key) + publicPEM(t, key), ""},
		"a secret by placeholder":    {"secret {env.JWT_SECRET}", "", ""},
		"a missing JWKS":             {"jwks none", "", "from jwt: jwks: stat none: no such file or directory"},
		"a missing public key":       {"public_key none", "", "from jwt: public_key: stat none: no such file or directory"},
		"a broken JWKS":              {"jwks keys", "<html>", `jwks: keys: want a JSON object with a list "keys"`},
		"a JWKS as public key":       {"public_key keys", keySet(t, key), "public_key: keys: want a public key in PEM"},
		"a folder":                   {"jwks .", "", "is a directory"},
		"a short secret":             {"secret {env.SHORT_SECRET}", "", "secret: want at least 32 bytes, not 14"},
		"a secret too short for 512": {"secret {env.JWT_SECRET}\nalgorithms HS512", "", "secret: want at least 64 bytes, not 43"},
		"a secret without value":     {"secret {env.NO_SUCH_SECRET}", "", "secret: {env.NO_SUCH_SECRET} has no value"},
		"a URL without value":        {"jwks {env.NO_SUCH_URL}", "", "jwks: {env.NO_SUCH_URL} has no value"},
		"a secret with braces":       {"secret swordfish{swordfish}swordfish{swordfish}", "", "secret: a placeholder in it has no value"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"keys": tt.file}
			out, err := validate(t, tt.options, files)
			if (err == nil) != (tt.says == "") || !strings.Contains(harness.Complaint(out), tt.says) {
				t.Errorf("%v, want %q: %s", err, tt.says, harness.Complaint(out))
			}
			for _, secret := range []string{"hunter2", jwtSecret} {
				if strings.Contains(out, secret) {
					t.Errorf("it prints the secret: %s", out)
				}
			}
			if err != nil && strings.Contains(harness.Complaint(out), "swordfish") {
				t.Errorf("it complains with the secret: %s", harness.Complaint(out))
			}
		})
	}
}

func TestLoginWarnings(t *testing.T) {
	const plain, audience = "jwks is fetched over http", "set audience"
	for name, tt := range map[string]struct {
		options string
		want    []string
	}{
		"https and an audience": {"jwks https://login.test/keys\naudience chat", nil},
		"no audience":           {"jwks https://login.test/keys", []string{audience}},
		"http":                  {"jwks http://login.test/keys\naudience chat", []string{plain}},
		"http on this machine":  {"jwks http://localhost:1/keys\naudience chat", nil},
		"a password":            {"jwks http://me:hunter2@login.test/keys", []string{plain, audience}},
	} {
		out, err := validate(t, tt.options, nil)
		if err != nil {
			t.Errorf("%s: %s", name, harness.Complaint(out))
		}
		for _, warning := range []string{plain, audience} {
			wanted := strings.Contains(strings.Join(tt.want, " "), warning)
			if strings.Contains(out, warning) != wanted {
				t.Errorf("%s: the warning %q comes %t, want %t", name, warning, !wanted, wanted)
			}
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s: the password is logged", name)
		}
	}
}
