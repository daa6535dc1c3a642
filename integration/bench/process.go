package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long a process may take to start and to stop.
const patience = 2 * time.Minute

// process is a program that runs in a folder.
type process struct {
	cmd  *exec.Cmd
	dir  string
	log  bytes.Buffer // valid once the process has ended
	exit chan struct{}
}

func run(dir string, env []string, name string, args ...string) (*process, error) {
	// stop ends it gracefully; a context would kill it.
	cmd := exec.CommandContext(context.Background(), name, args...) //nolint:gosec // the benchmark's own list of programs
	p := &process{cmd: cmd, dir: dir, exit: make(chan struct{})}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(p.exit)
	}()
	return p, nil
}

// stop ends the program.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exit:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exit
	}
}

// ended returns why the program ended on its own, if it did.
func (p *process) ended() error {
	select {
	case <-p.exit:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.log.String())
	default:
		return nil
	}
}

// serving waits until the program accepts connections.
func (p *process) serving(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not listen on %s: %w", p.cmd.Path, addr, err)
		}
		if err := p.ended(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// freeAddr returns a free address of the loopback interface.
func freeAddr() (string, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
