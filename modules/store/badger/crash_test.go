package badger

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The test binary starts itself again to have a process to kill or to weigh.
const (
	childEnv = "CHAT_BADGER_TEST_CHILD"
	dirEnv   = "CHAT_BADGER_TEST_DIR"
)

func TestMain(m *testing.M) {
	child := os.Getenv(childEnv)
	if child == "" {
		os.Exit(m.Run())
	}
	if err := runChild(child); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var crashSession = store.SessionKey{User: "anna", ID: "7b0d1e3c-2f3a-4c5d-8e9f-000000000001"}

func runChild(name string) error {
	b := Badger{dir: os.Getenv(dirEnv), SyncWrites: name == "append_synced"}
	s, err := b.Open(zap.NewNop())
	if err != nil {
		return err
	}
	if name == "idle" {
		fmt.Println("open")
		select {}
	}
	start := time.Now()
	for n := 1; ; n++ {
		m := message(fmt.Sprint(n, " ", strings.Repeat("x", n*977%40_000))) // into the value log, too
		if err := s.Append(context.Background(), "acme", crashSession, store.AppendOptions{Create: true, Retention: time.Hour}, m); err != nil {
			return err
		}
		began := time.Since(start)
		if _, err := s.Settle(context.Background(), "acme", strconv.Itoa(n), []store.Budget{{Key: "tokens", Want: 1}}); err != nil {
			return err
		}
		fmt.Println(n, int64(began), int64(time.Since(start)))
	}
}

func message(content string) *store.Message {
	return &store.Message{
		ID: uuid.Must(uuid.NewV7()).String(), Role: "user", Content: content,
		Time: time.Now(), Status: store.StatusComplete,
	}
}

// startChild returns what the child prints, line by line. The child is
// killed at the end of the test at the latest.
func startChild(t *testing.T, name, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// TestKill kills a process that stores a message and settles a call in turn.
// No acknowledged message is lost, and of the budget's counter at most what
// was settled in the last 100 ms; with sync_writes nothing.
func TestKill(t *testing.T) {
	for _, tc := range []struct {
		child   string
		mayLose time.Duration
		rounds  []int // after how many acknowledged messages the child is killed
	}{
		{"append", commitWithin, []int{1, 700, 3000}},
		{"append_synced", 0, []int{20, 200}},
	} {
		t.Run(tc.child, func(t *testing.T) {
			dir := t.TempDir()
			for _, acks := range tc.rounds {
				acknowledged := killAfter(t, tc.child, dir, acks)
				checkSurvivors(t, dir, acknowledged, tc.mayLose)
			}
		})
	}
}

// acknowledgement is when a call of Settle began and ended, by the child's
// clock.
type acknowledgement struct{ began, ended time.Duration }

// killAfter kills the child in the middle of its work and returns what it had
// acknowledged.
func killAfter(t *testing.T, child, dir string, acks int) (list []acknowledgement) {
	t.Helper()
	cmd, lines := startChild(t, child, dir)
	for lines.Scan() {
		// What is still in the pipe was acknowledged as well.
		var n int
		var a acknowledgement
		if _, err := fmt.Sscan(lines.Text(), &n, &a.began, &a.ended); err != nil || n != len(list)+1 {
			t.Fatalf("child printed %q", lines.Text())
		}
		list = append(list, a)
		if n == acks {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Wait()
	if len(list) < acks {
		t.Fatalf("child stopped after %d, want at least %d", len(list), acks)
	}
	return list
}

// durable is how many of the calls the disk must know: those that ended so
// long before the last one began.
func durable(list []acknowledgement, mayLose time.Duration) (n int) {
	last := list[len(list)-1]
	for _, a := range list {
		if mayLose == 0 || a.ended+mayLose <= last.began {
			n++
		}
	}
	return n
}

// checkSurvivors also deletes the session, so that the next round begins
// with 1 again on a store with a past.
func checkSurvivors(t *testing.T, dir string, list []acknowledgement, mayLose time.Duration) {
	t.Helper()
	d := openAt(t, Badger{Path: dir}, time.Now)
	defer d.Close()
	ctx := context.Background()

	acknowledged := len(list)
	msgs, _, err := d.History(ctx, "acme", crashSession, store.Range{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	// One more may be stored than was acknowledged.
	if len(msgs) < acknowledged || len(msgs) > acknowledged+1 {
		t.Fatalf("%d messages survived, %d were acknowledged", len(msgs), acknowledged)
	}
	for i, m := range msgs {
		n, rest, _ := strings.Cut(m.Content, " ")
		if m.Seq != uint64(i+1) || n != strconv.Itoa(i+1) || len(rest) != (i+1)*977%40_000 {
			t.Fatalf("message %d has seq %d, says %q and is %d bytes long", i+1, m.Seq, n, len(rest))
		}
	}

	balances, err := d.Balances(ctx, "acme", []store.Budget{{Key: "tokens"}})
	if err != nil {
		t.Fatal(err)
	}
	least := durable(list, mayLose)
	if used := int(balances[0].Used); used < least || used > acknowledged+1 {
		t.Fatalf("budget used is %d, want %d at least, %d were acknowledged", used, least, acknowledged)
	}
	t.Logf("%d of %d settled calls survived, %d had to", balances[0].Used, acknowledged, least)
	sessions, _, err := d.Sessions(ctx, "acme", crashSession.User, nil, 10)
	if err != nil || len(sessions) != 1 || sessions[0].Messages != len(msgs) {
		t.Fatalf("list: %+v, %v", sessions, err)
	}
	if err := d.EraseTenant(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
}

func TestIdleStoreIsSmall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	dir := t.TempDir()
	fillStore(t, dir)
	cmd, lines := startChild(t, "idle", dir)
	if !lines.Scan() {
		t.Fatal("child did not open the store")
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB resident", kib)
	if kib > 80<<10 {
		t.Errorf("an idle store takes %d KiB, want at most 80 MiB", kib)
	}
}

// fillStore writes some 20 MB, so that there is more to open than a new
// store's files.
func fillStore(t *testing.T, dir string) {
	t.Helper()
	d := openAt(t, Badger{Path: dir}, time.Now)
	defer d.Close()
	for i := range 2000 {
		s := store.SessionKey{User: fmt.Sprint(i % 50), ID: uuid.NewString()}
		if err := d.Append(context.Background(), "acme", s, store.AppendOptions{Create: true}, message(strings.Repeat(uuid.NewString(), 300))); err != nil {
			t.Fatal(err)
		}
	}
}
