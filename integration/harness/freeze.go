package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Freeze stops all threads of the process where they are, until Thaw. It needs
// Linux.
func (c *Caddy) Freeze() {
	c.T.Helper()
	c.Signal(syscall.SIGSTOP)
	Eventually(c.T, "Caddy is frozen", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return false
		}
		for _, file := range threads {
			status, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(status), "\nState:\tT") {
				return false
			}
		}
		return true
	})
}

// Thaw lets a frozen process go on.
func (c *Caddy) Thaw() {
	c.T.Helper()
	c.Signal(syscall.SIGCONT)
}
