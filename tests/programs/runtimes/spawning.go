// Children from many goroutines, signals, channels and the collector.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

func main() {
	var all sync.WaitGroup
	said := make([]string, 8)
	for i := range said {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			output, err := exec.Command("/bin/sh", "-c", fmt.Sprintf("echo child %d; exit %d", i, i%3)).CombinedOutput()
			said[i] = fmt.Sprint(strings.TrimSpace(string(output)), " ", err)
		}(i)
	}
	all.Wait()
	fmt.Println(strings.Join(said, "\n"))
	cat := exec.Command("/bin/cat")
	cat.Stdin = strings.NewReader(strings.Repeat("hello\n", 1000))
	output, err := cat.Output()
	fmt.Println(len(output), err)
	_, err = exec.Command("/nothing/here").Output()
	fmt.Println(err)
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-came)
	sleep := exec.Command("/bin/sleep", "100")
	sleep.Start()
	sleep.Process.Kill()
	fmt.Println(sleep.Wait())
	numbers := make(chan int)
	go func() {
		for i := 0; i < 20000; i++ {
			numbers <- i
		}
		close(numbers)
	}()
	sum := 0
	for number := range numbers {
		sum += number
	}
	runtime.GC()
	fmt.Println(sum, "\nok")
}
