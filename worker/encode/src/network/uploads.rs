//! How the numbers of a batch get to the device.
//!
//! A GPU takes them from page-locked memory, which it reads by itself while the host goes on: only from there is a copy of any
//! size sure not to wait for the batch before it.

use candle_core::{Device, Result, Tensor};

/// What a device is sent, through buffers that are kept for the next batch.
#[derive(Default)]
pub(super) struct Uploads {
    #[cfg(feature = "cuda")]
    pinned: cuda::Pinned,
}

impl Uploads {
    /// The lists on the device, each as a tensor of one dimension.
    pub fn send<const N: usize>(&self, lists: [&[u32]; N], device: &Device) -> Result<[Tensor; N]> {
        let all = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => self.pinned.send(&lists, device)?,
            _ => Tensor::new(lists.concat(), device)?,
        };
        let mut sent = Vec::with_capacity(N);
        let mut start = 0;
        for list in lists {
            sent.push(all.narrow(0, start, list.len())?);
            start += list.len();
        }
        Ok(sent.try_into().expect("as many as there are lists"))
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::{
        collections::VecDeque,
        sync::{Mutex, PoisonError},
    };

    use candle_core::{
        CudaDevice, CudaStorage, Result, Storage, Tensor,
        cuda_backend::{WrapErr, cudarc::driver::PinnedHostSlice},
        op::BackpropOp,
    };

    /// Buffers at most. A batch is prepared while another is computed, and each sends twice.
    const BUFFERS: usize = 4;

    /// Page-locked buffers, the one that was sent longest ago first.
    #[derive(Default)]
    pub struct Pinned(Mutex<VecDeque<PinnedHostSlice<u32>>>);

    impl Pinned {
        /// The lists one after the other, and after them numbers that mean nothing.
        pub fn send(&self, lists: &[&[u32]], device: &CudaDevice) -> Result<Tensor> {
            let n = lists.iter().map(|list| list.len()).sum::<usize>().max(1);
            let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = (buffers.len() == BUFFERS).then(|| buffers.pop_front()).flatten();
            let mut buffer = match oldest {
                Some(buffer) if buffer.len() >= n => buffer,
                _ => pinned(n.next_power_of_two(), device)?,
            };
            // Waits for the copy that was made of it, if that is still to come.
            let mut free = buffer.as_mut_slice().w()?;
            for list in lists {
                let (own, rest) = free.split_at_mut(list.len());
                own.copy_from_slice(list);
                free = rest;
            }
            let copy = device.cuda_stream().clone_htod(&buffer).w()?;
            let n = buffer.len();
            buffers.push_back(buffer);
            let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(copy, device.clone()));
            Ok(Tensor::from_storage(storage, n, BackpropOp::none(), false))
        }
    }

    #[expect(unsafe_code, reason = "page-locked memory comes as it is")]
    fn pinned(len: usize, device: &CudaDevice) -> Result<PinnedHostSlice<u32>> {
        // SAFETY: whatever the memory holds are numbers, and it is filled before it is read.
        let mut buffer = unsafe { device.cuda_stream().context().alloc_pinned::<u32>(len) }.w()?;
        buffer.as_mut_slice().w()?.fill(0);
        Ok(buffer)
    }
}
