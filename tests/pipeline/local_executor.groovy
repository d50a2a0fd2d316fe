// Two threads begin and end tasks of one CPU as the local executor does; then a task asks for the whole machine.
package nextflow.processor

import nextflow.Session
import nextflow.util.MemoryUnit

class Silent extends Session {
    Silent(Map config) {
        super(config)
    }

    void notifyTaskSubmit(TaskHandler handler) {}
}

class Task extends TaskHandler {
    Task(int cpus, String memory) {
        task = new TaskRun(config: new TaskConfig(cpus: cpus, memory: MemoryUnit.of(memory)))
    }

    void prepareLauncher() {}

    void submit() {}

    boolean checkIfRunning() { true }

    boolean checkIfCompleted() { true }

    protected void killTask() {}

    boolean canForkProcess() { true }

    boolean isReady() { true }
}

def session = new Silent(executor: [cpus: 4, memory: '8 GB', queueSize: 4])
def monitor = LocalPollingMonitor.create(session, 'local')
def report = { question, handler -> println("${question}: ${monitor.canSubmit(handler)}") }

def waiting = new java.util.concurrent.SynchronousQueue()
def rounds = 100_000
def ending = Thread.start { rounds.times { monitor.remove(waiting.take()) } }
rounds.times {
    def one = new Task(1, '1 GB')
    monitor.submit(one)
    waiting.put(one)
}
ending.join()

report('whole machine after all tasks ended', new Task(4, '8 GB'))
def running = new Task(3, '1 GB')
monitor.submit(running)
report('two CPUs beside three', new Task(2, '1 GB'))
report('one CPU beside three', new Task(1, '1 GB'))
report('8 GB beside 1 GB', new Task(1, '8 GB'))
monitor.remove(running)
report('two CPUs after three', new Task(2, '1 GB'))
[cpus: new Task(5, '1 GB'), memory: new Task(1, '9 GB')].each { name, handler ->
    try {
        monitor.canSubmit(handler)
        println("more ${name} than there are: no error")
    }
    catch (nextflow.exception.ProcessUnrecoverableException problem) {
        println("more ${name} than there are: ${problem.message}")
    }
}
