package nextflow.processor

import groovy.transform.CompileStatic
import nextflow.Session
import nextflow.exception.ProcessUnrecoverableException
import nextflow.util.Duration
import nextflow.util.MemoryUnit
import nextflow.util.SysHelper

/**
 * Stands in for Nextflow's own, which subtracts a task's CPUs and memory from what is free in one thread and adds them
 * again in another, without a lock. Where a task begins while another ends, one of the two is lost for good, and the
 * next task that needs the whole machine waits forever: about one in 5,000 short tasks on two cores. Here nothing is
 * counted: what is free is what the running tasks leave.
 */
@CompileStatic
class LocalPollingMonitor extends TaskPollingMonitor {
    private final int cpus
    private final long memory

    protected LocalPollingMonitor(Map params) {
        super(params)
        cpus = params.cpus as int
        memory = params.memory as long
    }

    static LocalPollingMonitor create(Session session, String name) {
        return new LocalPollingMonitor(
            name: name,
            session: session,
            cpus: session.getExecConfigProp(name, 'cpus', SysHelper.availCpus),
            memory: (session.getExecConfigProp(name, 'memory', SysHelper.availMemory) as MemoryUnit).toBytes(),
            capacity: session.getQueueSize(name, SysHelper.availCpus),
            pollInterval: session.getPollInterval(name, Duration.of('100ms')),
            dumpInterval: session.getMonitorDumpInterval(name),
        )
    }

    @Override
    protected boolean canSubmit(TaskHandler handler) {
        int cpusAsked = cpusOf(handler)
        long memoryAsked = memoryOf(handler)
        if (cpusAsked > cpus) {
            throw new ProcessUnrecoverableException(
                "Process requirement exceeds available CPUs -- req: ${cpusAsked}; avail: ${cpus}")
        }
        if (memoryAsked > memory) {
            throw new ProcessUnrecoverableException('Process requirement exceeds available memory -- ' +
                "req: ${new MemoryUnit(memoryAsked)}; avail: ${new MemoryUnit(memory)}")
        }
        if (!super.canSubmit(handler)) {
            return false
        }
        for (TaskHandler running : runningQueue) {
            cpusAsked += cpusOf(running)
            memoryAsked += memoryOf(running)
        }
        return cpusAsked <= cpus && memoryAsked <= memory
    }

    private static int cpusOf(TaskHandler handler) {
        return handler.task.config.getCpus()
    }

    private static long memoryOf(TaskHandler handler) {
        return handler.task.config.getMemory()?.toBytes() ?: 1L
    }
}
