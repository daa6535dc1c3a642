package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to serve, and to end.
const patience = 30 * time.Second

// process is a program that runs in a directory of its own.
type process struct {
	cmd  *exec.Cmd
	dir  string
	log  bytes.Buffer // valid when it has ended
	exit chan struct{}
}

// run starts a program in dir.
func run(dir string, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), dir: dir, exit: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exit)
	}()
	return p, nil
}

// stop ends the program and removes its directory.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exit:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exit
	}
	return os.RemoveAll(p.dir)
}

// failed says what a program printed that ended on its own.
func (p *process) failed() error {
	select {
	case <-p.exit:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.log.String())
	default:
		return nil
	}
}

// serving waits until the program accepts connections.
func (p *process) serving(addr string) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err := p.failed(); err != nil {
			return err
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s", p.cmd.Path, addr)
}

// pids is the program and its children: nginx works in those.
func (p *process) pids() []string {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	pids := []string{pid}
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		pids = append(pids, strings.Fields(string(children))...)
	}
	return pids
}

// cpu is how long the program has run on a processor, to the nanosecond
// where no thread of it is running now.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids() {
		threads, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
		if err != nil || threads == nil {
			return 0, errors.Join(p.failed(), fmt.Errorf("no /proc/%s/task/*/schedstat: the benchmark needs Linux", pid))
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return 0, err
			}
			ran, _, _ := strings.Cut(string(stat), " ")
			ns, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", thread, err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// rss is how many bytes of memory the program holds.
func (p *process) rss() (float64, error) {
	var sum float64
	for _, pid := range p.pids() {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(status)) {
			value, ok := strings.CutPrefix(line, "VmRSS:")
			if !ok {
				continue
			}
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			if err != nil {
				return 0, err
			}
			sum += kb * 1024
		}
	}
	return sum, nil
}

// asUpstream makes this program the upstream.
const asUpstream = "upstream"

// startUpstream runs the replaying upstream in a process of its own, so that
// its time is not counted and its garbage is not ours. It returns its address.
func startUpstream() (p *exec.Cmd, addr string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p = exec.Command(self, asUpstream)
	p.Stderr = os.Stderr
	// It ends when this pipe does: with us, whatever ends us.
	if _, err = p.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := p.Start(); err != nil {
		return nil, "", err
	}
	addr, err = bufio.NewReader(out).ReadString('\n')
	return p, strings.TrimSpace(addr), err
}

// freeAddr is an address of the loopback interface that is not in use.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
