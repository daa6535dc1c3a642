package badger

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	for _, tc := range []struct {
		name, input string
		want        Badger
		err         string
	}{
		{name: "nothing", input: `badger`},
		{name: "directory", input: `badger /data/chat`, want: Badger{Path: "/data/chat"}},
		{name: "empty block", input: "badger {\n}"},
		{
			name:  "all",
			input: "badger /data/chat {\n\tencryption_key {env.KEY}\n\tsync_writes\n}",
			want:  Badger{Path: "/data/chat", EncryptionKey: "{env.KEY}", SyncWrites: true},
		},
		{
			name:  "block without directory",
			input: "badger {\n\tsync_writes\n}",
			want:  Badger{SyncWrites: true},
		},
		{name: "two directories", input: `badger /a /b`, err: "wrong argument count or unexpected line ending after '/b', at Testfile:1"},
		{name: "unknown", input: "badger {\n\tcompress\n}", err: "unrecognized subdirective 'compress', want encryption_key or sync_writes, at Testfile:2"},
		{name: "key without value", input: "badger {\n\tencryption_key\n}", err: "wrong argument count or unexpected line ending after 'encryption_key', at Testfile:2"},
		{name: "key in parts", input: "badger {\n\tencryption_key abc s3cret\n}", err: "encryption_key: want one argument, at Testfile:2"},
		{name: "key twice", input: "badger {\n\tencryption_key {file.a}\n\tencryption_key {file.b}\n}", err: "encryption_key is given twice, at Testfile:3"},
		{name: "short key", input: "badger {\n\tsync_writes\n\tencryption_key c2hvcnQ=\n}", err: "encryption_key: want 16, 24 or 32 bytes as hex or base64, such as the output of: openssl rand -hex 32, at Testfile:3"},
		{name: "switch with value", input: "badger {\n\tsync_writes off\n}", err: "wrong argument count or unexpected line ending after 'off', at Testfile:2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got Badger
			err := got.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.input))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error is %v, want %s", err, tc.err)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Error("the error holds the key")
				}
				return
			}
			must(t, err)
			if got.Path != tc.want.Path || got.EncryptionKey != tc.want.EncryptionKey || got.SyncWrites != tc.want.SyncWrites {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestUnmarshalCaddyfileNested is how the global option calls it: inside a
// block of its own.
func TestUnmarshalCaddyfileNested(t *testing.T) {
	d := caddyfile.NewTestDispenser("chat {\n\tstore badger /data {\n\t\tsync_writes\n\t}\n\tnext x\n}")
	d.Next()
	for d.NextBlock(0) {
		switch d.Val() {
		case "store":
			d.NextArg()
			var b Badger
			must(t, b.UnmarshalCaddyfile(d.NewFromNextSegment()))
			if b.Path != "/data" || !b.SyncWrites {
				t.Errorf("got %+v", b)
			}
		case "next":
			d.NextArg()
		default:
			t.Errorf("the store left %q", d.Val())
		}
	}
}

func TestModule(t *testing.T) {
	info, err := caddy.GetModule("chat.stores.badger")
	must(t, err)
	const config = `{"path":"/data/chat","encryption_key":"{env.KEY}","sync_writes":true}`
	b := info.New().(*Badger)
	must(t, caddy.StrictUnmarshalJSON([]byte(config), b))
	out, err := json.Marshal(b)
	must(t, err)
	if string(out) != config {
		t.Errorf("got %s, want %s", out, config)
	}
	if out, _ := json.Marshal(info.New()); string(out) != "{}" {
		t.Errorf("defaults are %s, want {}", out)
	}
}

func TestProvision(t *testing.T) {
	t.Setenv("CHAT_TEST_KEY", testKey)
	t.Setenv("CHAT_TEST_BAD", "s3cret-and-too-short")
	t.Setenv("CHAT_TEST_DIR", "/from/env")
	std, url := base64.StdEncoding, base64.RawURLEncoding
	bytesOf := func(n int) []byte { return []byte(strings.Repeat("\xfb", n)) }
	for _, tc := range []struct {
		name string
		b    Badger
		size int
		err  string
	}{
		{"no key", Badger{}, 0, ""},
		{"hex of 16", Badger{EncryptionKey: testKey[:32]}, 16, ""},
		{"hex of 24", Badger{EncryptionKey: testKey[:48]}, 24, ""},
		{"hex of 32", Badger{EncryptionKey: testKey}, 32, ""},
		{"base64 of 16", Badger{EncryptionKey: std.EncodeToString(bytesOf(16))}, 16, ""},
		{"base64 of 24", Badger{EncryptionKey: std.EncodeToString(bytesOf(24))}, 24, ""},
		{"base64 of 32", Badger{EncryptionKey: std.EncodeToString(bytesOf(32))}, 32, ""},
		{"base64url of 32", Badger{EncryptionKey: url.EncodeToString(bytesOf(32))}, 32, ""},
		{"placeholder", Badger{EncryptionKey: "{env.CHAT_TEST_KEY}"}, 32, ""},
		{"too short", Badger{EncryptionKey: "s3cret"}, 0, "encryption_key: want 16, 24 or 32 bytes as hex or base64"},
		{"wrong size", Badger{EncryptionKey: testKey + "00"}, 0, "encryption_key: want 16, 24 or 32 bytes as hex or base64"},
		{"bad placeholder value", Badger{EncryptionKey: "{env.CHAT_TEST_BAD}"}, 0, "encryption_key: want 16, 24 or 32 bytes"},
		{"empty placeholder", Badger{EncryptionKey: "{env.CHAT_TEST_UNSET}"}, 0, "encryption_key: evaluated placeholder {env.CHAT_TEST_UNSET} is empty"},
		{"unknown placeholder", Badger{EncryptionKey: "{no.such}"}, 0, "encryption_key: unrecognized placeholder {no.such}"},
		{"path from placeholder", Badger{Path: "{env.CHAT_TEST_DIR}"}, 0, ""},
		{"empty path placeholder", Badger{Path: "{env.CHAT_TEST_UNSET}"}, 0, "path: evaluated placeholder"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.b
			err := b.Provision(caddy.Context{})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error is %v, want %s", err, tc.err)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Error("the error holds the key")
				}
				return
			}
			must(t, err)
			if len(b.key) != tc.size {
				t.Errorf("key has %d bytes, want %d", len(b.key), tc.size)
			}
			if tc.b.Path != "" && b.dir != "/from/env" {
				t.Errorf("directory is %s", b.dir)
			}
		})
	}
	var b Badger
	must(t, b.Provision(caddy.Context{}))
	if want := filepath.Join(caddy.AppDataDir(), "chat"); b.dir != want {
		t.Errorf("default directory is %s, want %s", b.dir, want)
	}
}

func TestLocation(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Mkdir(filepath.Join(root, "real"), 0o700))
	must(t, os.Symlink(filepath.Join(root, "real"), filepath.Join(root, "link")))
	for given, want := range map[string]string{
		"real":             "real",
		"link":             "real",
		"link/new":         "real/new",
		"link/new/deeper":  "real/new/deeper",
		"real/../link/./x": "real/x",
		"absent/chat":      "absent/chat",
	} {
		b := provisioned(t, Badger{Path: root + "/" + given})
		got, err := b.Location()
		must(t, err)
		if got != filepath.Join(root, want) {
			t.Errorf("%s is at %s, want %s", given, got, want)
		}
	}
	if files, _ := os.ReadDir(filepath.Join(root, "real")); len(files) != 0 {
		t.Error("asking for the location created something")
	}
	if _, err := os.Stat(filepath.Join(root, "absent")); err == nil {
		t.Error("asking for the location created something")
	}
}

func TestFingerprint(t *testing.T) {
	seen := make(map[string]string)
	for name, b := range map[string]Badger{
		"plain":     {},
		"synced":    {SyncWrites: true},
		"encrypted": {EncryptionKey: testKey},
		"another":   {EncryptionKey: testKey[:32]},
	} {
		f := provisioned(t, b).Fingerprint()
		if f != provisioned(t, Badger{Path: "/elsewhere", EncryptionKey: b.EncryptionKey, SyncWrites: b.SyncWrites}).Fingerprint() {
			t.Errorf("%s: the directory counts", name)
		}
		if other, ok := seen[f]; ok {
			t.Errorf("%s and %s look the same", name, other)
		}
		seen[f] = name
	}
}
