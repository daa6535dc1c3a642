package ops

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestBackup makes the backups that docs/operations.md describes, and restores each
// into a server of its own.
func TestBackup(t *testing.T) {
	const options = "chat {\n\tstore badger data {\n\t\tencryption_key {env.STORE_KEY}\n\t}\n\ttenant acme\n}"
	const key = "STORE_KEY=00112233445566778899aabbccddeeff"
	up := harness.NewUpstream(t)
	up.Plays(harness.Echoes)
	c := harness.Start(t, options, up.Chain(""), key)
	ann := harness.NewClient(c, "acme", "ann")
	var sessions []string
	say := func(n int) {
		for i := range n {
			session := harness.NewSession()
			ann.Say(session, fmt.Sprint("question ", i))
			sessions = append(sessions, session)
		}
	}
	restored := func(t *testing.T, backup string) *harness.Client {
		t.Helper()
		other := harness.Start(t, "", "respond ok", key)
		cp(t, backup, filepath.Join(other.Dir, "data"))
		other.Stop()
		other.WriteConfig(options, up.Chain(""))
		other.Restart()
		return harness.NewClient(other, "acme", "ann")
	}
	wantAll := func(t *testing.T, bob *harness.Client) {
		t.Helper()
		for _, session := range sessions {
			if msgs := bob.History(session); len(msgs) != 2 || msgs[1].Content != "re: "+msgs[0].Content {
				t.Errorf("%s has %+v", session, msgs)
			}
		}
	}

	t.Run("of a frozen server", func(t *testing.T) {
		say(20)
		up.Plays()
		running := midStream(ann, up, 1)[0]
		backup := filepath.Join(t.TempDir(), "backup")
		c.Freeze()
		cp(t, filepath.Join(c.Dir, "data"), backup)
		c.Thaw()

		// The server goes on where it was, streams included.
		running.call.Say(", part two")
		running.call.Finish("stop")
		if end := running.stream.Rest(); end.Text != ", part two" || end.Done == nil || end.Failed != nil {
			t.Errorf("the stream went on with %+v", end)
		}
		up.Plays(harness.Echoes)
		other := restored(t, backup)
		wantAll(t, other)
		// Its answer was not complete when the copy was made.
		if msgs := other.History(running.session); len(msgs) != 1 {
			t.Errorf("the running session has %+v", msgs)
		}
	})
	t.Run("of a stopped server", func(t *testing.T) {
		say(1)
		c.Stop()
		backup := filepath.Join(t.TempDir(), "backup")
		cp(t, filepath.Join(c.Dir, "data"), backup)
		wantAll(t, restored(t, backup))
	})
}

func cp(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}
